// distributed/NativeTensors.cpp: CUDA tensors as the tensors that a transport between processes works on.

#include "distributed/NativeTensors.h"

#include "forward/Frame.h"
#include "forward/fallback/OnHost.h"
#include "native/Backend.h"

namespace torchdevice::distributed {

Tensors native_tensors(at::TensorList tensors) {
  native_backend().synchronize();
  Tensors natives;
  natives.reserve(tensors.size());
  // Aliases that are kept when the frame ends come to own the memory: before any other thread sees them.
  const forward::OnHost on_host;
  forward::Frame frame;
  for (const at::Tensor& tensor : tensors) {
    natives.push_back(tensor.defined() ? frame.pass(tensor) : tensor);
  }
  return natives;
}

std::vector<Tensors> native_tensors(const std::vector<Tensors>& lists) {
  std::vector<Tensors> natives;
  natives.reserve(lists.size());
  for (const Tensors& list : lists) {
    natives.push_back(native_tensors(list));
  }
  return natives;
}

at::Tensor native_tensor(const at::Tensor& tensor) { return native_tensors(tensor).front(); }

}  // namespace torchdevice::distributed
