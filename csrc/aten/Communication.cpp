// aten/Communication.cpp: what torch.cuda.comm and nn.DataParallel move tensors between devices with.

#include "aten/Communication.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/StreamGuard.h>
#include <torch/csrc/utils/tensor_flatten.h>

#include <algorithm>
#include <numeric>

#include "runtime/Device.h"

namespace torchdevice::aten {
namespace {

at::Device cuda_device(int64_t index) { return {at::kCUDA, device_index_of(index)}; }

void check_device_index(int64_t index) {
  TORCH_CHECK(index >= 0, "Expected non-negative device index, but got ", index);
}

/// Work from here on is `streams[i]`'s, if there is one; it must be of the device that chunk `i` goes to.
void enter_stream(c10::OptionalStreamGuard& guard, const OptionalStreams& streams, size_t i, int64_t device) {
  if (!streams || i >= streams->size() || !(*streams)[i]) {
    return;
  }
  const c10::Stream stream = *(*streams)[i];
  TORCH_CHECK(stream.device_index() == device, "Expected the device associated with the stream at index ", i, " (was ",
              static_cast<int>(stream.device_index()), ") to match the device supplied at that index (expected ",
              device, ")");
  guard.reset_stream(stream);
}

std::vector<int64_t> sizes_along(at::TensorList tensors, int64_t dim) {
  std::vector<int64_t> sizes(tensors.size());
  std::transform(tensors.begin(), tensors.end(), sizes.begin(), [&](const at::Tensor& t) { return t.size(dim); });
  return sizes;
}

/// Whether two shapes differ at most at `dim`.
bool same_but_for(int64_t dim, at::IntArrayRef a, at::IntArrayRef b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (static_cast<int64_t>(i) != dim && a[i] != b[i]) {
      return false;
    }
  }
  return true;
}

/// The shape of all `tensors` one after the other along `dim`.
std::vector<int64_t> gathered_shape(at::TensorList tensors, int64_t dim, const char* quote) {
  std::vector<int64_t> expected = tensors.front().sizes().vec();
  const auto dims = static_cast<int64_t>(expected.size());
  int64_t total = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& tensor = tensors[i];
    TORCH_CHECK(tensor.is_cuda(), "Expected all input tensors to be CUDA tensors, but tensor at index ", i,
                " has device ", quote, tensor.device(), quote);
    // The missing blank before "has" is torch's.
    TORCH_CHECK(tensor.dim() == dims,
                "Expected all input tensors to have the same number of dimensions, but tensor at index ", i, "has ",
                tensor.dim(), " dimensions, (expected ", dims, ")");
    expected[dim] = tensor.size(dim);
    TORCH_CHECK(tensor.sizes().equals(expected), "Input tensor at index ", i, " has invalid shape ", tensor.sizes(),
                ", but expected ", at::IntArrayRef(expected));
    total += tensor.size(dim);
  }
  expected[dim] = total;
  return expected;
}

at::Tensor& copy_into(at::TensorList tensors, at::Tensor& output, int64_t dim) {
  const auto places = output.split_with_sizes(sizes_along(tensors, dim), dim);
  for (size_t i = 0; i < tensors.size(); ++i) {
    places[i].copy_(tensors[i], /*non_blocking=*/output.is_cuda());
  }
  return output;
}

/// The pieces of one buffer that was sent to a device, shaped like the tensors that were packed into it.
Tensors unpacked(const torch::utils::TensorGroup& group, const at::Tensor& indices, const at::Tensor& values) {
  return indices.defined() ? torch::utils::unflatten_sparse_tensors(indices, values, group.tensors)
                           : torch::utils::unflatten_dense_tensors(values, group.tensors);
}

}  // namespace

Tensors broadcast(const at::Tensor& tensor, at::IntArrayRef devices) {
  std::for_each(devices.begin(), devices.end(), check_device_index);
  Tensors copies;
  copies.reserve(devices.size());
  for (const int64_t device : devices) {
    if (device == tensor.get_device()) {
      copies.push_back(tensor);
      continue;
    }
    copies.push_back(at::empty(tensor.sizes(), tensor.options().device(cuda_device(device))));
    copies.back().copy_(tensor, /*non_blocking=*/true);
  }
  return copies;
}

Tensors& broadcast_out(const at::Tensor& tensor, Tensors& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    TORCH_CHECK(outputs[i].is_cuda(), "Expected all output tensors to be CUDA tensors, but output tensor at index ", i,
                " has device '", outputs[i].device(), "'");
    TORCH_CHECK(outputs[i].sizes() == tensor.sizes(),
                "Expected all output tensors to have same shape as the source tensor ", tensor.sizes(),
                ", but output tensor at index ", i, " has shape ", outputs[i].sizes());
  }
  for (at::Tensor& output : outputs) {
    output.copy_(tensor, /*non_blocking=*/true);
  }
  return outputs;
}

std::vector<Tensors> broadcast_coalesced(at::TensorList tensors, at::IntArrayRef devices, size_t buffer_size) {
  TORCH_CHECK(!devices.empty(), "Expected at least one device to broadcast to");
  const auto on_first = [&](const at::Tensor& tensor) { return tensor.get_device() == devices[0]; };
  TORCH_CHECK(std::all_of(tensors.begin(), tensors.end(), on_first), "All tensors must be on devices[0]: ", devices[0]);
  std::vector<Tensors> outputs(devices.size());
  outputs[0] = tensors.vec();
  c10::DeviceGuard guard(cuda_device(devices[0]));
  for (auto& group : torch::utils::take_tensors(tensors, buffer_size)) {
    at::Tensor indices;
    at::Tensor values;
    if (group.options().is_sparse()) {
      std::tie(indices, values) = torch::utils::flatten_sparse_tensors(group.tensors);
    } else {
      values = torch::utils::flatten_dense_tensors(group.tensors);
    }
    const Tensors all_values = broadcast(values, devices);
    const Tensors all_indices = indices.defined() ? broadcast(indices, devices) : Tensors(devices.size());
    for (size_t i = 1; i < devices.size(); ++i) {
      guard.set_index(device_index_of(devices[i]));
      for (const at::Tensor& piece : unpacked(group, all_indices[i], all_values[i])) {
        // Pieces of one buffer share its version counter, but a change of one must not invalidate another.
        outputs[i].push_back(piece.variable_data());
      }
    }
  }
  // Groups are of one type each; the caller's order may mix types.
  for (Tensors& output : outputs) {
    torch::utils::reorder_tensors_like(output, tensors);
  }
  return outputs;
}

Tensors& scatter_out(const at::Tensor& tensor, Tensors& outputs, int64_t dim, const OptionalStreams& streams) {
  TORCH_CHECK(!outputs.empty(), "Expected at least one output tensor to scatter to");
  dim = at::maybe_wrap_dim(dim, tensor.dim());
  for (size_t i = 0; i < outputs.size(); ++i) {
    TORCH_CHECK(outputs[i].is_cuda(), "Expected all output tensors to be CUDA tensors, but output tensor at index ", i,
                " has device '", outputs[i].device(), "'");
    TORCH_CHECK(same_but_for(dim, outputs[i].sizes(), tensor.sizes()), "Output tensor at index ", i,
                " has incorrect shape: ", outputs[i].sizes(), ". Expected same shape except for scatter dim ", dim,
                " as the source tensor: ", tensor.sizes());
  }
  const auto sizes = sizes_along(outputs, dim);
  const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  TORCH_CHECK(total == tensor.size(dim), "Total size for output tensors along scatter dim ", dim,
              " does not match the source tensor size at dim ", dim, ". Expected ", tensor.size(dim),
              ", but got total size ", total);
  const auto chunks = tensor.split_with_sizes(sizes, dim);
  c10::OptionalStreamGuard guard;
  for (size_t i = 0; i < chunks.size(); ++i) {
    enter_stream(guard, streams, i, outputs[i].get_device());
    outputs[i].copy_(chunks[i], /*non_blocking=*/true);
  }
  return outputs;
}

Tensors scatter(const at::Tensor& tensor, at::IntArrayRef devices,
                const std::optional<std::vector<int64_t>>& chunk_sizes, int64_t dim, const OptionalStreams& streams) {
  TORCH_CHECK(!devices.empty(), "Expected at least one device to scatter to");
  TORCH_CHECK(!chunk_sizes || chunk_sizes->size() == devices.size(),
              "Expected devices and chunk_sizes to be of same length, but got len(devices) = ", devices.size(),
              " and len(chunk_sizes) = ", chunk_sizes ? chunk_sizes->size() : 0);
  dim = at::maybe_wrap_dim(dim, tensor.dim());
  Tensors chunks = chunk_sizes ? tensor.split_with_sizes(*chunk_sizes, dim)
                               : tensor.chunk(static_cast<int64_t>(devices.size()), dim);
  c10::OptionalStreamGuard guard;
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (devices[i] == tensor.get_device()) {
      continue;
    }
    enter_stream(guard, streams, i, devices[i]);
    check_device_index(devices[i]);
    chunks[i] = chunks[i].to(at::TensorOptions(cuda_device(devices[i])), /*non_blocking=*/true, /*copy=*/false,
                             at::MemoryFormat::Preserve);
  }
  return chunks;
}

at::Tensor& gather_out(at::TensorList tensors, at::Tensor& output, int64_t dim) {
  TORCH_CHECK(!tensors.empty(), "Expected at least one tensor to gather from");
  dim = at::maybe_wrap_dim(dim, tensors.front().dim());
  const auto shape = gathered_shape(tensors, dim, "'");
  TORCH_CHECK(output.sizes().equals(shape), "Expected out tensor to have shape ", at::IntArrayRef(shape), ", but got ",
              output.sizes());
  return copy_into(tensors, output, dim);
}

at::Tensor gather(at::TensorList tensors, int64_t dim, std::optional<int32_t> destination) {
  TORCH_CHECK(!tensors.empty(), "Expected at least one tensor to gather from");
  const at::Tensor& first = tensors.front();
  dim = at::maybe_wrap_dim(dim, first.dim());
  const auto shape = gathered_shape(tensors, dim, "");
  const auto format = first.suggest_memory_format();
  const bool alike = std::all_of(tensors.begin(), tensors.end(),
                                 [&](const at::Tensor& tensor) { return tensor.suggest_memory_format() == format; });
  constexpr int32_t kCpu = -1;
  const at::Device device = destination == kCpu ? at::Device(at::kCPU) : cuda_device(destination.value_or(-1));
  at::Tensor output = at::empty(shape, first.options().device(device), alike ? format : at::MemoryFormat::Contiguous);
  return copy_into(tensors, output, dim);
}

}  // namespace torchdevice::aten
