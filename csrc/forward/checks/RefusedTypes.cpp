// forward/checks/RefusedTypes.cpp: types that an operator's native kernel knows and CUDA's does not.

#include "forward/checks/RefusedTypes.h"

#include <ATen/Context.h>

namespace torchdevice::forward {

void refuse_type(const RefusedTypes& refused, at::ScalarType type) {
  TORCH_CHECK(!refused.before_cudnn || !at::globalContext().userEnabledCuDNN(),
              "getCudnnDataTypeFromScalarType() not supported for ", toString(type));
  TORCH_CHECK_NOT_IMPLEMENTED(false, '"', refused.kernel, "\" not implemented for '", toString(type), "'");
}

}  // namespace torchdevice::forward
