// forward/checks/Float8.h: products of float8 matrices, which the CPU has and a GPU older than Ada refuses.

#pragma once

#include <c10/util/Exception.h>

#include "forward/checks/Checked.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice::forward {

/// Refuses where a GPU was chosen whose compute capability is neither 8.9 nor 9.0 and later.
struct Float8Check {
  template <class... A>
  static void before(const A&... /*arguments*/) {
    const auto [major, minor] = compute_capability();
    TORCH_CHECK(!gpu_is_chosen() || major >= 9 || (major == 8 && minor == 9),
                "torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0 or 8.9, or ROCm "
                "MI300+");
  }
};

}  // namespace torchdevice::forward
