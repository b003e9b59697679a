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

/// Native tensors as gloo takes them: complex numbers as pairs; float8, which it does not know and only moves, as
/// bytes.
at::Tensor plain(const at::Tensor& native);
Tensors plain(Tensors natives);
std::vector<Tensors> plain(std::vector<Tensors> lists);

/// The memory of a dense tensor, whatever its dimensions and their order: NCCL is told an address and a count.
at::Tensor in_one_piece(const at::Tensor& tensor);
Tensors in_one_piece(const Tensors& tensors);

}  // namespace torchdevice::distributed
