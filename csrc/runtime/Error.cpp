// runtime/Error.cpp: errors with the codes and words of CUDA's runtime.

#include "runtime/Error.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>

namespace torchdevice {
namespace {

struct ErrorRow {
  int32_t code;
  const char* name;
  const char* text;
};

constexpr ErrorRow kErrors[] = {
#include "runtime/ErrorTable.inc"
};

constexpr const char* kUnknown = "unrecognized error code";

const ErrorRow* find_error(int32_t code) noexcept {
  const auto* row = std::lower_bound(std::begin(kErrors), std::end(kErrors), code,
                                     [](const ErrorRow& r, int32_t c) { return r.code < c; });
  return row != std::end(kErrors) && row->code == code ? row : nullptr;
}

/// CUDA's errors of kernels may come late, unless each kernel is waited for; the driver's log knows more of others.
const char* advice(CudaError error) {
  if (error != CudaError::kAssert) {
    return "\nFor more detailed error information, run with CUDA_LOG_FILE=stderr\n";
  }
  const char* blocking = std::getenv("CUDA_LAUNCH_BLOCKING");
  return blocking != nullptr && std::string_view(blocking) == "1"
             ? "\n"
             : "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below "
               "might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n";
}

}  // namespace

const char* cuda_error_string(int32_t code) noexcept {
  const auto* row = find_error(code);
  return row ? row->text : kUnknown;
}

const char* cuda_error_name(int32_t code) noexcept {
  const auto* row = find_error(code);
  return row ? row->name : kUnknown;
}

// The wording of c10/cuda/CUDAException.cpp and CUDAMiscFunctions.cpp in torch 2.13 built for CUDA on Linux.
void throw_cuda_error(CudaError error, const char* function, std::string_view detail) {
  const auto code = static_cast<int32_t>(error);
  std::string text = std::string("CUDA error: ") + cuda_error_string(code);
  if (error == CudaError::kInvalidDevice) {
    text += "\nGPU device may be out of range, do you have enough GPUs?";
  } else {
    text += std::string("\nSearch for `") + cuda_error_name(code) +
            "' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more information.";
  }
  text += advice(error);
  text += detail;
  throw c10::AcceleratorError({function, __FILE__, __LINE__}, code, text);
}

}  // namespace torchdevice
