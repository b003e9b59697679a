// forward/checks/BadIndices.cpp: operators whose native kernels notice a bad index, but do not say which or what the
// bound is.

#include "forward/checks/BadIndices.h"

#include <string>

#include "forward/Frame.h"

namespace torchdevice::forward {

void name_bad_index(std::string_view op, const char* word, const at::Tensor& indices, int64_t size, const char* of_what,
                    std::optional<int64_t> ignored) {
  std::string number;
  {
    Frame frame;
    const at::Tensor native = frame.pass(indices).to(at::kLong);
    at::Tensor is_bad = native.lt(0).logical_or_(native.ge(size));
    if (ignored.has_value()) {
      is_bad.logical_and_(native.ne(*ignored));
    }
    const at::Tensor bad = native.masked_select(is_bad);
    number = bad.numel() > 0 ? std::to_string(bad[0].item<int64_t>()) : "?";
  }
  fail_device_assertion(
      op, std::string(word) + " " + number + " is out of bounds for " + std::to_string(size) + " " + of_what);
}

}  // namespace torchdevice::forward
