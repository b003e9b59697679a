// forward/ErrorText.cpp: errors of native kernels in the words of CUDA's.

#include "forward/ErrorText.h"

#include <string>

namespace torchdevice::forward {

void throw_cuda_text(const c10::NotImplementedError& error) {
  // The text of AT_DISPATCH: "name" not implemented for 'dtype'
  std::string text = error.msg();
  const size_t end = text.find("\" not implemented for '");
  const size_t device = text.find("cpu");
  if (text.empty() || text.front() != '"' || end == std::string::npos || device > end) {
    throw;
  }
  text.replace(device, 3, "cuda");
  throw c10::NotImplementedError({__func__, __FILE__, __LINE__}, text);
}

}  // namespace torchdevice::forward
