// forward/DeviceAssertion.cpp: bad values on the device: indices, labels, probabilities.

#include "forward/DeviceAssertion.h"

#include <regex>
#include <string>

#include "forward/checks/Strictness.h"
#include "runtime/Error.h"
#include "runtime/LostContext.h"
#include "runtime/Observer.h"

namespace torchdevice::forward {
namespace {

/// What native kernels say where CUDA's have an assertion.
bool matches_kernels_texts(const std::string& text) {
  static const std::regex texts(
      "(index_copy_\\(\\): )?index -?\\d+ is out of bounds for dimension \\d+ with size \\d+"
      "|index out of range in self"
      "|INDICES element is out of DATA bounds, id=-?\\d+ axis_dim=\\d+"
      "|out of range: tried to access index -?\\d+ on a tensor of \\d+ elements\\."
      "|Index \\d+ of input takes value -?\\d+ which is not in the valid range \\[0, \\d+\\)"
      "|embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx to be -?\\d+"
      "|Target -?\\d+ is out of bounds\\."
      "|target out of range"
      "|argument #2 'target' is out of range"
      "|Found an invalid max index: -?\\d+ \\(output volumes are of size .*\\)"
      "|Number of elements of source < number of ones in mask"
      "|repeats can not be negative"
      "|all elements of (input|target) should be between 0 and 1"
      "|invalid Poisson rate, expected rate to be non-negative"
      "|probability tensor contains either `inf`, `nan` or element < 0"
      "|invalid multinomial distribution \\(.*\\)");
  return std::regex_match(text, texts);
}

}  // namespace

bool is_about_device_values(std::string_view op, const c10::Error& error) {
  const std::string_view text = error.msg();
  if (op == "aten::_assert_async" || op == "aten::_functional_assert_async") {
    return !text.starts_with("Boolean value of Tensor with");
  }
  if (op == "aten::embedding_renorm_" && text.starts_with("select(): index")) {
    return true;
  }
  return matches_kernels_texts(error.msg());
}

void fail_device_assertion(std::string_view op, std::string_view detail) {
  tell_observer([&](Observer& one) { one.assertion_failed(op, detail); });
  if (strictness() == Strictness::kContextLost) {
    lose_context();
  }
  throw_cuda_error(CudaError::kAssert, __func__, std::string(op).append(": ").append(detail));
}

bool is_device_assertion(const c10::AcceleratorError& error) {
  return error.get_error_code() == static_cast<int32_t>(CudaError::kAssert);
}

}  // namespace torchdevice::forward
