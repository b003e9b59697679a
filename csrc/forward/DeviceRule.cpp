// forward/DeviceRule.cpp: the errors torch with CUDA raises when arguments live on different devices.

#include "forward/DeviceRule.h"

#include <ATen/core/op_registration/adaption.h>

namespace torchdevice::forward {
namespace {

/// As the checks that torchgen writes into every CUDA kernel.
void check_same_device(const Rule& rule, const std::vector<SeenTensor>& tensors) {
  std::optional<c10::Device> common;
  for (size_t i = 0; i < rule.checked_count; ++i) {
    const CheckedArgument& argument = rule.checked[i];
    for (const SeenTensor& seen : tensors) {
      if (seen.position == argument.position) {
        c10::impl::check_and_update_common_device(common, seen.tensor, rule.method, argument.name);
      }
    }
  }
}

bool is_readable_cpu_scalar(const SeenTensor& seen) {
  return !seen.written && seen.tensor.is_cpu() && seen.tensor.dim() == 0;
}

/// As TensorIteratorBase::compute_types: the first device that is not the CPU is the common one.
void check_tensor_iterator(const std::vector<SeenTensor>& tensors) {
  std::optional<c10::Device> common;
  for (const SeenTensor& seen : tensors) {
    if (seen.tensor.defined() && !seen.tensor.is_cpu()) {
      common = seen.tensor.device();
      break;
    }
  }
  for (const SeenTensor& seen : tensors) {
    if (seen.tensor.defined() && common.has_value() && seen.tensor.device() != *common &&
        !is_readable_cpu_scalar(seen)) {
      TORCH_CHECK(false, "Expected all tensors to be on the same device, but found at least two devices, ", *common,
                  " and ", seen.tensor.device(), "!");
    }
  }
}

/// As at::native::make_info: `self` first, then the list of indices, then possibly values.
void check_indices(const std::vector<SeenTensor>& tensors) {
  const at::Tensor& self = tensors.front().tensor;
  std::vector<SeenTensor> iterated{tensors.front()};
  for (const SeenTensor& seen : tensors) {
    if (seen.position == 1) {
      TORCH_CHECK(!seen.tensor.defined() || seen.tensor.is_cpu() || seen.tensor.device() == self.device(),
                  "indices should be either on ", c10::kCPU, " or on the same device as the indexed tensor (",
                  self.device(), ")");
    } else if (seen.position > 1) {
      iterated.push_back(seen);
    }
  }
  check_tensor_iterator(iterated);
}

/// As masked_fill_ in torch's native/cuda/Indexing.cu: self, mask, possibly a value.
void check_mask(const std::vector<SeenTensor>& tensors) {
  const at::Tensor& self = tensors[0].tensor;
  const at::Tensor& mask = tensors[1].tensor;
  TORCH_CHECK(self.device() == mask.device(), "expected self and mask to be on the same device, but got mask on ",
              mask.device(), " and self on ", self.device());
}

}  // namespace

void check_devices(const Rule& rule, const std::vector<SeenTensor>& tensors) {
  switch (rule.mixing) {
    case Mixing::kSameDevice:
      return check_same_device(rule, tensors);
    case Mixing::kTensorIterator:
      return check_tensor_iterator(tensors);
    case Mixing::kIndices:
      return check_indices(tensors);
    case Mixing::kMask:
      return check_mask(tensors);
    case Mixing::kConvolution:
    case Mixing::kComposite:
    case Mixing::kAnyDevice:
      return;
  }
}

}  // namespace torchdevice::forward
