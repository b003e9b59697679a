// forward/checks/Absent.cpp: operators that a native backend has and CUDA has not.

#include "forward/checks/Absent.h"

#include <ATen/core/operator_name.h>
#include <c10/util/Exception.h>

#include "forward/checks/Strictness.h"

namespace torchdevice::forward {

void check_absent(const char* name, const char* overload) {
  if (!is_strict()) {
    return;
  }
  const std::string op = c10::toString(c10::OperatorName(name, overload));
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "Could not run '", op,
      "' with arguments from the 'CUDA' backend. This could be because the operator doesn't exist for this backend, or "
      "was omitted during the selective/custom build process (if using custom build). If you are a Facebook employee "
      "using PyTorch on mobile, please visit https://fburl.com/ptmfixes for possible resolutions. '",
      op, "' is only available for these backends: [CPU].");
}

}  // namespace torchdevice::forward
