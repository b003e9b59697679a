// ByHand.h: operators that are not done by the CPU's kernels.

#pragma once

#include <torch/library.h>

#include <set>
#include <string>

namespace mps_simulator {

/// Registers them; returns their names.
std::set<std::string> implement_by_hand(torch::Library& library);

}  // namespace mps_simulator
