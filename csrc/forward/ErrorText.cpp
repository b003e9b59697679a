// forward/ErrorText.cpp: errors of native kernels in the words of CUDA's.

#include "forward/ErrorText.h"

#include <regex>
#include <string>
#include <typeinfo>

namespace torchdevice::forward {
namespace {

/// The names of the CPU's functions have "cpu" between underscores; a device in a message stands alone.
std::string with_cuda_names(const std::string& text) {
  static const std::regex ending("_cpu(?![A-Za-z0-9])");
  static const std::regex beginning("\\bcpu_");
  return std::regex_replace(std::regex_replace(text, ending, "_cuda"), beginning, "cuda_");
}

template <class Error>
void throw_if_exactly(const c10::Error& error, const std::string& text) {
  if (typeid(error) == typeid(Error)) {
    Error renamed({__func__, __FILE__, __LINE__}, text);
    for (const std::string& context : error.context()) {
      renamed.add_context(context);
    }
    throw renamed;
  }
}

}  // namespace

void throw_cuda_text(const c10::Error& error) {
  const std::string text = with_cuda_names(error.msg());
  if (text != error.msg()) {
    throw_if_exactly<c10::Error>(error, text);
    throw_if_exactly<c10::NotImplementedError>(error, text);
  }
  throw;
}

}  // namespace torchdevice::forward
