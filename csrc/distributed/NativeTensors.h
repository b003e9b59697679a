// distributed/NativeTensors.h: CUDA tensors as the tensors that a transport between processes works on.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace torchdevice::distributed {

using Tensors = std::vector<at::Tensor>;

/// Native tensors over the memory of `tensors`, which they keep alive: a collective works on them after the call that
/// started it has returned. Whatever was submitted to the device before is done. Tensors that are not on a CUDA device
/// stand for themselves.
Tensors native_tensors(at::TensorList tensors);
std::vector<Tensors> native_tensors(const std::vector<Tensors>& lists);
at::Tensor native_tensor(const at::Tensor& tensor);

}  // namespace torchdevice::distributed
