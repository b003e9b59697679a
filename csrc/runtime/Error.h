// runtime/Error.h: errors with the codes and words of CUDA's runtime.

#pragma once

#include <cstdint>
#include <string_view>

namespace torchdevice {

/// The codes of cudaError_t that torchdevice raises itself, as wide as in C.
// NOLINTNEXTLINE(performance-enum-size)
enum class CudaError : int32_t {
  kSuccess = 0,
  kInvalidValue = 1,
  kMemoryAllocation = 2,
  kInvalidDevice = 101,
  kInvalidResourceHandle = 400,
  kIllegalState = 401,
  kIllegalAddress = 700,
  kAssert = 710,
  kHostMemoryAlreadyRegistered = 712,
  kHostMemoryNotRegistered = 713,
  kNotSupported = 801,
  kStreamCaptureUnsupported = 900,
  kStreamCaptureInvalidated = 901,
  kStreamCaptureMerge = 902,
  kStreamCaptureUnmatched = 903,
  kStreamCaptureUnjoined = 904,
  kStreamCaptureImplicit = 906,
  kCapturedEvent = 907,
  kStreamCaptureWrongThread = 908,
};

/// What cudaGetErrorString says of `code`.
const char* cuda_error_string(int32_t code) noexcept;

/// What cudaGetErrorName says of `code`.
const char* cuda_error_name(int32_t code) noexcept;

/// Raise c10::AcceleratorError (torch.AcceleratorError) as a failed C10_CUDA_CHECK in `function` does. `detail` is one
/// more line, of what CUDA does not say.
[[noreturn]] void throw_cuda_error(CudaError error, const char* function, std::string_view detail = {});

}  // namespace torchdevice
