// runtime/Error.h: errors with the codes and words of CUDA's runtime.

#pragma once

#include <cstdint>

namespace torchdevice {

/// The codes of cudaError_t that torchdevice raises itself, as wide as in C.
// NOLINTNEXTLINE(performance-enum-size)
enum class CudaError : int32_t {
  success = 0,
  invalid_value = 1,
  memory_allocation = 2,
  invalid_device = 101,
  invalid_resource_handle = 400,
  illegal_state = 401,
  host_memory_already_registered = 712,
  host_memory_not_registered = 713,
  not_supported = 801,
  stream_capture_unsupported = 900,
  stream_capture_invalidated = 901,
  stream_capture_merge = 902,
  stream_capture_unmatched = 903,
  stream_capture_unjoined = 904,
  stream_capture_implicit = 906,
  captured_event = 907,
  stream_capture_wrong_thread = 908,
};

/// What cudaGetErrorString says of `code`.
const char* cuda_error_string(int32_t code) noexcept;

/// What cudaGetErrorName says of `code`.
const char* cuda_error_name(int32_t code) noexcept;

/// Raise c10::AcceleratorError (torch.AcceleratorError) as a failed C10_CUDA_CHECK in `function` does.
[[noreturn]] void throw_cuda_error(CudaError error, const char* function);

}  // namespace torchdevice
