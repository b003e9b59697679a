// aten/OptionalTensor.h: an argument that may be left out, or be given as an undefined tensor.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace torchdevice::aten {

using OptionalTensor = std::optional<at::Tensor>;

inline bool given(const OptionalTensor& tensor) { return tensor.has_value() && tensor->defined(); }

}  // namespace torchdevice::aten
