// forward/half/InFloat32.h: a kernel that runs on float32 copies of halves, its results rounded once.

#pragma once

#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include "forward/half/HalfRule.h"

namespace torchdevice::forward {

/// `kernel` as Note [Half precision] says, called with CUDA tensors. Where they do not suit (both half types at once,
/// say) it gets them as they are, and raises what it raises.
c10::KernelFunction in_float32(const HalfRule& rule, c10::KernelFunction kernel);

}  // namespace torchdevice::forward
