// distributed/NativeTensors.cpp: CUDA tensors as the tensors that a transport between processes works on.

#include "distributed/NativeTensors.h"

#include <ATen/ATen.h>

#include <algorithm>

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

at::Tensor plain(const at::Tensor& native) {
  if (native.is_complex()) {
    return at::view_as_real(native);
  }
  return at::isFloat8Type(native.scalar_type()) ? native.view(at::kByte) : native;
}

Tensors plain(Tensors natives) {
  std::transform(natives.begin(), natives.end(), natives.begin(), [](const at::Tensor& t) { return plain(t); });
  return natives;
}

std::vector<Tensors> plain(std::vector<Tensors> lists) {
  for (Tensors& list : lists) {
    list = plain(std::move(list));
  }
  return lists;
}

at::Tensor in_one_piece(const at::Tensor& tensor) {
  const at::Tensor native = plain(native_tensor(tensor));
  return native.as_strided({native.numel()}, {1});
}

Tensors in_one_piece(const Tensors& tensors) {
  Tensors pieces;
  pieces.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) {
    pieces.push_back(in_one_piece(tensor));
  }
  return pieces;
}

}  // namespace torchdevice::distributed
