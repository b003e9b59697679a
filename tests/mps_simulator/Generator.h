// Generator.h: the random numbers of the simulated GPU: Philox's seed and offset, as MPSGeneratorImpl has them.

#pragma once

#include <ATen/core/Generator.h>

#include <optional>

namespace mps_simulator {

const at::Generator& default_generator();
at::Generator new_generator();

/// A CPU generator for one operator's numbers, a function of the MPS generator's seed and offset; the offset moves on.
at::Generator host_generator(const std::optional<at::Generator>& generator);

}  // namespace mps_simulator
