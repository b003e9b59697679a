// forward/checks/OneType.h: normalisation of tensors of several types: CUDA's kernels take one, the CPU's also weights
// in float32 beside halves.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "forward/checks/Checked.h"
#include "forward/checks/Strictness.h"

namespace torchdevice::forward {

/// Of layer_norm and group_norm: the optional tensors, weight and bias, have the type of the first one.
struct OneType {
  template <class... A>
  static void before(const at::Tensor& first, const A&... arguments) {
    (check(first, arguments), ...);
  }

 private:
  static void check(const at::Tensor& first, const std::optional<at::Tensor>& other) {
    if (other.has_value() && other->defined() && C10_UNLIKELY(other->scalar_type() != first.scalar_type())) {
      TORCH_CHECK(!is_strict(), "expected scalar type ", toString(first.scalar_type()), " but found ",
                  toString(other->scalar_type()));
    }
  }
  template <class T>
  static void check(const at::Tensor& /*first*/, const T& /*argument*/) {}
};

}  // namespace torchdevice::forward
