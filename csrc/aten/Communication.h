// aten/Communication.h: what torch.cuda.comm and nn.DataParallel move tensors between devices with.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <optional>
#include <vector>

namespace torchdevice::aten {

// The checks and their texts are those of a CUDA build of torch without NCCL. A source tensor may lie on the CPU.

using Tensors = std::vector<at::Tensor>;
/// A stream for each output, on whose device and with which it is made; none: the current one.
using OptionalStreams = std::optional<std::vector<std::optional<c10::Stream>>>;

/// A copy of `tensor` on each device; itself where it lies there already.
Tensors broadcast(const at::Tensor& tensor, at::IntArrayRef devices);

/// Copy `tensor` into every tensor of `outputs`.
Tensors& broadcast_out(const at::Tensor& tensor, Tensors& outputs);

/// For each device the copies of all `tensors`, which lie on the first one; moved in pieces of `buffer_size` bytes.
std::vector<Tensors> broadcast_coalesced(at::TensorList tensors, at::IntArrayRef devices, size_t buffer_size);

/// Chunks of `tensor` along `dim`, one for each device: of `chunk_sizes`, or of equal size.
Tensors scatter(const at::Tensor& tensor, at::IntArrayRef devices,
                const std::optional<std::vector<int64_t>>& chunk_sizes, int64_t dim, const OptionalStreams& streams);

/// The chunks of `tensor` along `dim`, copied into `outputs`.
Tensors& scatter_out(const at::Tensor& tensor, Tensors& outputs, int64_t dim, const OptionalStreams& streams);

/// `tensors` one after the other along `dim`, on cuda:`destination`; -1 is the CPU, none the current device.
at::Tensor gather(at::TensorList tensors, int64_t dim, std::optional<int32_t> destination);
at::Tensor& gather_out(at::TensorList tensors, at::Tensor& output, int64_t dim);

}  // namespace torchdevice::aten
