// forward/ErrorText.h: errors of native kernels in the words of CUDA's.

#pragma once

#include <c10/util/Exception.h>

namespace torchdevice::forward {

/// To be called in a handler: throws `error` again, with the names of kernels as CUDA has them: '"abs_cuda" not
/// implemented for ...' instead of '"abs_cpu" not ...', 'max_pool3d_with_indices_out_cuda_template(): ...'.
[[noreturn]] void throw_cuda_text(const c10::Error& error);

}  // namespace torchdevice::forward
