// forward/ErrorText.h: errors of native kernels in the words of CUDA's.

#pragma once

#include <c10/util/Exception.h>

namespace torchdevice::forward {

/// To be called in a handler: throws `error` again, with the kernel's name as CUDA would write it if it says that a
/// kernel of the CPU does not know a dtype: '"abs_cuda" not implemented for ...' instead of '"abs_cpu" not ...'.
[[noreturn]] void throw_cuda_text(const c10::NotImplementedError& error);

}  // namespace torchdevice::forward
