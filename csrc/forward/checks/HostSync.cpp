// forward/checks/HostSync.cpp: operators for which the host waits for a GPU, as their results depend on what the device
// computed.

#include "forward/checks/HostSync.h"

#include "runtime/Capture.h"
#include "runtime/Stream.h"

namespace torchdevice::forward {

void wait_for_device_of(const at::Tensor& tensor) {
  if (!tensor.is_cuda()) {
    return;
  }
  const c10::Stream stream = current_stream(tensor.device().index());
  forbid_wait_for(stream, "wait_for_device_of");
  note_host_waits(stream);
}

bool wait_for_indices(const c10::List<std::optional<at::Tensor>>& indices) {
  for (const std::optional<at::Tensor> index : indices) {
    if (index.has_value() && index->defined()) {
      const bool is_mask = index->scalar_type() == at::kBool || index->scalar_type() == at::kByte;
      if (is_mask == index->is_cuda()) {
        return true;
      }
    }
  }
  return false;
}

void check_captured_copy(const at::Tensor& host, const at::Tensor& device) {
  // The words of aten/src/ATen/native/cuda/Copy.cu.
  TORCH_CHECK(current_capture(device.device().index()) == 0 || !host.is_cpu() || host.is_pinned(),
              "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is pinned. "
              "Please use tensor.pin_memory() or allocate the tensor with pin_memory=True.");
}

}  // namespace torchdevice::forward
