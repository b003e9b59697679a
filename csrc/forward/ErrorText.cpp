// forward/ErrorText.cpp: errors of native kernels in the words of CUDA's.

#include "forward/ErrorText.h"

#include <array>
#include <regex>
#include <string>
#include <typeinfo>

#include "forward/DeviceAssertion.h"
#include "forward/Masquerade.h"

namespace torchdevice::forward {
namespace {

struct Words {
  std::regex native;
  const char* cuda;
};

/// The names of the CPU's functions have "cpu" between underscores, those of types before them; a device in a message
/// stands alone.
std::string in_cudas_words(std::string text) {
  static const std::string native_name = c10::DeviceTypeName(masquerade.native_device.type());
  static const std::array<Words, 4> words{{
      {std::regex("_cpu(?![A-Za-z0-9])"), "_cuda"},
      {std::regex("\\bcpu_"), "cuda_"},
      {std::regex("\\b(CPU|" + native_name + ")(?=[A-Z][A-Za-z0-9]*Type\\b)"), "CUDA"},
      {std::regex(" or input should be a MKLDNN tensor and weight is a dense tensor"), ""},
  }};
  for (const auto& [native, cuda] : words) {
    text = std::regex_replace(text, native, cuda);
  }
  return text;
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

void throw_cuda_text(const c10::Error& error, std::string_view op) {
  if (is_about_device_values(op, error)) {
    fail_device_assertion(op, error.msg());
  }
  const std::string text = in_cudas_words(error.msg());
  if (text != error.msg()) {
    throw_if_exactly<c10::Error>(error, text);
    throw_if_exactly<c10::NotImplementedError>(error, text);
  }
  throw;
}

}  // namespace torchdevice::forward
