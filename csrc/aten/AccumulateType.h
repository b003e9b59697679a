// aten/AccumulateType.h: the type in which CUDA's kernels sum.

#pragma once

#include <ATen/AccumulateType.h>
#include <ATen/core/Tensor.h>

namespace torchdevice::aten {

/// The type that CUDA sums such elements in.
inline at::ScalarType wide(const at::Tensor& tensor) {
  return at::toAccumulateType(tensor.scalar_type(), /*is_cuda=*/true);
}

inline at::Tensor widened(const at::Tensor& tensor) { return tensor.to(wide(tensor)); }

}  // namespace torchdevice::aten
