// forward/checks/Float8.h: products of float8 matrices, which the CPU has, and a GPU not of all types or not at all.

#pragma once

#include <ATen/core/Tensor.h>

#include "forward/checks/Checked.h"
#include "forward/checks/Strictness.h"
#include "native/Dtypes.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice::forward {

/// Refuses where a GPU was chosen whose compute capability is neither 8.9 nor 9.0 and later, and the types that
/// NVIDIA's GPUs do not multiply.
struct Float8Check {
  template <class... A>
  static void before(const at::Tensor& self, const at::Tensor& mat2, const A&... /*arguments*/) {
    const auto [major, minor] = compute_capability();
    TORCH_CHECK(!gpu_is_chosen() || major >= 9 || (major == 8 && minor == 9),
                "torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0 or 8.9, or ROCm "
                "MI300+");
    if (is_strict()) {
      TORCH_CHECK(self.scalar_type() != at::kFloat8_e5m2 || mat2.scalar_type() != at::kFloat8_e5m2,
                  "Multiplication of two Float8_e5m2 matrices is not supported");
      check_known(self.scalar_type());
      check_known(mat2.scalar_type());
    }
  }

 private:
  static void check_known(at::ScalarType type) {
    constexpr DtypeSet kOfOtherGpus = dtype_set({at::kFloat8_e4m3fnuz, at::kFloat8_e5m2fnuz});
    TORCH_CHECK((dtype_set({type}) & kOfOtherGpus) == 0, "Cannot convert ScalarType ", toString(type),
                " to cudaDataType.");
  }
};

}  // namespace torchdevice::forward
