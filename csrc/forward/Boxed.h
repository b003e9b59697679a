// forward/Boxed.h: the boxed kernel, for operators whose C++ types are not known here.

#pragma once

#include <ATen/core/boxing/KernelFunction.h>

namespace torchdevice::forward {

/// A kernel that forwards any operator to the native backend, through the stack.
c10::KernelFunction boxed_kernel();

}  // namespace torchdevice::forward
