// forward/ErrorText.h: errors of native kernels in the words of CUDA's.

#pragma once

#include <c10/util/Exception.h>

#include <string_view>

namespace torchdevice::forward {

/// To be called in a handler: throws `error` of a native kernel of `op` again, with the names of kernels as CUDA has
/// them: '"abs_cuda" not implemented for ...' instead of '"abs_cpu" not ...',
/// 'max_pool3d_with_indices_out_cuda_template(): ...'. What CUDA's kernels assert fails as there.
[[noreturn]] void throw_cuda_text(const c10::Error& error, std::string_view op);

}  // namespace torchdevice::forward
