// forward/checks/IntMmSizes.h: the sizes that torch._int_mm has on CUDA. Source: torch's native/cuda/Blas.cpp.

#pragma once

#include <ATen/core/Tensor.h>

#include "forward/checks/Checked.h"
#include "forward/checks/Strictness.h"

namespace torchdevice::forward {

struct IntMmSizes {
  template <class... Out>
  static void before(const at::Tensor& self, const at::Tensor& mat2, const Out&... /*out*/) {
    if (!is_strict()) {
      return;
    }
    TORCH_CHECK(self.dim() == 2, "Expected self to be of dimension 2 but got ", self.dim());
    TORCH_CHECK(mat2.dim() == 2, "Expected mat2 to be of dimension 2 but got ", mat2.dim());
    TORCH_CHECK(self.size(0) > 16, "self.size(0) needs to be greater than 16, but got ", self.size(0));
    TORCH_CHECK(self.size(1) > 0 && self.size(1) % 8 == 0,
                "self.size(1) needs to be greater than 0 and a multiple of 8, but got ", self.size(1));
    TORCH_CHECK(self.size(1) == mat2.size(0), "self.size(1) needs to match mat2.size(0) but got ", self.size(1),
                " and ", mat2.size(0));
    TORCH_CHECK(mat2.size(1) > 0 && mat2.size(1) % 8 == 0,
                "mat2.size(1) needs to be greater than 0 and a multiple of 8, but got ", mat2.size(1));
  }
};

}  // namespace torchdevice::forward
