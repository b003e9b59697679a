// forward/Layouts.cpp: tensors without plain strided memory: sparse, compressed sparse, quantized and nested ones.

#include "forward/Layouts.h"

#include <ATen/NestedTensorImpl.h>
#include <ATen/SparseCsrTensorImpl.h>
#include <ATen/SparseCsrTensorUtils.h>
#include <ATen/SparseTensorImpl.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/native/SparseTensorUtils.h>
#include <ATen/native/nested/NestedTensorUtils.h>
#include <ATen/quantized/QTensorImpl.h>
#include <ATen/quantized/Quantizer.h>
#include <c10/core/DeviceGuard.h>

#include <utility>

#include "allocator/CachingAllocator.h"
#include "forward/Frame.h"
#include "forward/TensorAccess.h"
#include "runtime/SilentWarnings.h"

namespace torchdevice::forward {
namespace {

/// How a part crosses: as an alias on the way in, adopted on the way out.
enum class Way { kIn, kOut };

at::Tensor cross(Frame& frame, const at::Tensor& part, Way way) {
  if (way == Way::kIn) {
    return frame.pass(part);
  }
  const at::Tensor crossed = frame.adopted(part);
  // The kernel may have resized the alias of a part that the tensor keeps.
  frame.commit(crossed);
  return crossed;
}

c10::DispatchKeySet keys(const Frame& frame, c10::DispatchKey functionality, Way way) {
  const uint64_t backend = way == Way::kIn ? frame.native().native_backend_bit : kCudaBackendBit;
  return c10::DispatchKeySet(functionality) | c10::DispatchKeySet(c10::DispatchKeySet::RAW, backend);
}

c10::Device device(const Frame& frame, Way way) {
  return way == Way::kIn ? frame.native().native_device : frame.device();
}

/// `to` becomes what `from` is, made of parts that have crossed.
void fill_sparse(Frame& frame, const at::Tensor& to, const at::Tensor& from, Way way) {
  const auto* source = at::sparse::get_sparse_impl(from);
  auto* target = at::sparse::get_sparse_impl(to);
  target->raw_resize_(source->sparse_dim(), source->dense_dim(), from.sizes());
  target->set_indices_and_values_unsafe(cross(frame, source->indices(), way), cross(frame, source->values(), way));
  target->set_coalesced(source->coalesced());
}

void fill_compressed(Frame& frame, const at::Tensor& to, const at::Tensor& from, Way way) {
  const auto* source = at::sparse_csr::get_sparse_csr_impl(from);
  at::sparse_csr::get_sparse_csr_impl(to)->set_member_tensors(cross(frame, source->compressed_indices(), way),
                                                              cross(frame, source->plain_indices(), way),
                                                              cross(frame, source->values(), way), from.sizes());
}

at::Tensor cross_sparse(Frame& frame, const at::Tensor& tensor, Way way) {
  auto result =
      at::detail::make_tensor<at::SparseTensorImpl>(keys(frame, c10::DispatchKey::Sparse, way), tensor.dtype());
  fill_sparse(frame, result, tensor, way);
  return result;
}

at::Tensor cross_compressed(Frame& frame, const at::Tensor& tensor, Way way) {
  auto result = at::detail::make_tensor<at::SparseCsrTensorImpl>(keys(frame, c10::DispatchKey::SparseCsr, way),
                                                                 device(frame, way), tensor.layout(), tensor.dtype());
  fill_compressed(frame, result, tensor, way);
  return result;
}

/// Sizes, strides and offsets live on the host on every device.
at::Tensor wrap_nested(const at::Tensor& buffer, const at::native::NestedTensorImpl& like) {
  return at::native::wrap_buffer(buffer, like.get_nested_sizes(), like.get_nested_strides(),
                                 like.get_storage_offsets());
}

at::QuantizerPtr cross_quantizer(Frame& frame, const at::QuantizerPtr& quantizer, Way way) {
  const auto* per_channel = dynamic_cast<const at::PerChannelAffineQuantizer*>(quantizer.get());
  if (per_channel == nullptr) {
    return quantizer;
  }
  return at::make_per_channel_affine_quantizer(cross(frame, per_channel->scales(), way),
                                               cross(frame, per_channel->zero_points(), way), per_channel->axis(),
                                               quantizer->scalar_type());
}

/// A dense tensor over the memory of a quantized one.
at::Tensor as_dense(const at::Tensor& quantized, c10::DispatchKeySet dense_keys) {
  auto dense =
      at::detail::make_tensor<c10::TensorImpl>(c10::Storage(quantized.storage()), dense_keys, quantized.dtype());
  dense.unsafeGetTensorImpl()->set_sizes_and_strides(quantized.sizes(), quantized.strides(),
                                                     quantized.storage_offset());
  return dense;
}

at::Tensor as_quantized(const at::Tensor& dense, c10::DispatchKeySet quantized_keys, at::QuantizerPtr quantizer) {
  auto result = at::detail::make_tensor<at::QTensorImpl>(c10::Storage(dense.storage()), quantized_keys, dense.dtype(),
                                                         std::move(quantizer));
  result.unsafeGetTensorImpl()->set_sizes_and_strides(dense.sizes(), dense.strides(), dense.storage_offset());
  return result;
}

}  // namespace

LayoutAliases::Entry LayoutAliases::make(Frame& frame, const at::Tensor& source) {
  if (source.is_sparse()) {
    return {source, cross_sparse(frame, source, Way::kIn), {}};
  }
  if (at::sparse_csr::is_sparse_compressed(source)) {
    const SilentWarnings silent;  // that the layout is in beta, torch has said when the source was made
    return {source, cross_compressed(frame, source, Way::kIn), {}};
  }
  if (source.is_nested()) {
    const auto& impl = *at::native::get_nested_tensor_impl(source);
    at::Tensor buffer = impl.get_unsafe_storage_as_tensor();
    return {source, wrap_nested(frame.pass(buffer), impl), buffer};
  }
  TORCH_CHECK_NOT_IMPLEMENTED(source.is_quantized(), "torchdevice: tensors of ", source.toString(),
                              " have no forwarding on 'cuda'; run this part on the CPU.");
  at::Tensor dense = as_dense(source, c10::DispatchKeySet(c10::DispatchKey::CUDA));
  auto quantizer = cross_quantizer(frame, at::get_qtensorimpl(source)->quantizer(), Way::kIn);
  return {source,
          as_quantized(frame.pass(dense), keys(frame, c10::DispatchKey::Quantized, Way::kIn), std::move(quantizer)),
          dense};
}

const at::Tensor& LayoutAliases::pass(Frame& frame, const at::Tensor& source) {
  for (const Entry& entry : entries_) {
    if (entry.source.is_same(source)) {
      return entry.native;
    }
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  return entries_.emplace_back(make(frame, source)).native;
}

at::Tensor LayoutAliases::source_of(const at::Tensor& native) const {
  for (const Entry& entry : entries_) {
    if (entry.native.is_same(native)) {
      return entry.source;
    }
  }
  return {};
}

void LayoutAliases::commit(Frame& frame, const at::Tensor& source) const {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  for (const Entry& entry : entries_) {
    if (!entry.source.is_same(source)) {
      continue;
    }
    if (source.is_sparse()) {
      fill_sparse(frame, source, entry.native, Way::kOut);
    } else if (at::sparse_csr::is_sparse_compressed(source)) {
      fill_compressed(frame, source, entry.native, Way::kOut);
    } else if (source.is_quantized()) {
      at::get_qtensorimpl(source)->set_quantizer_(
          cross_quantizer(frame, at::get_qtensorimpl(entry.native)->quantizer(), Way::kOut));
    }
    // The memory of quantized and nested tensors is shared with the alias.
    return;
  }
}

bool has_known_layout(const c10::TensorImpl& tensor) {
  return tensor.key_set().has_any(c10::DispatchKeySet({c10::DispatchKey::Sparse, c10::DispatchKey::SparseCsr,
                                                       c10::DispatchKey::NestedTensor, c10::DispatchKey::Quantized}));
}

at::Tensor adopt_layout(Frame& frame, const at::Tensor& native) {
  const c10::DeviceGuard guard(frame.device());
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (native.is_sparse()) {
    return cross_sparse(frame, native, Way::kOut);
  }
  if (at::sparse_csr::is_sparse_compressed(native)) {
    return cross_compressed(frame, native, Way::kOut);
  }
  if (native.is_nested()) {
    const auto& impl = *at::native::get_nested_tensor_impl(native);
    return wrap_nested(frame.adopted(impl.get_unsafe_storage_as_tensor()), impl);
  }
  auto quantizer = cross_quantizer(frame, at::get_qtensorimpl(native)->quantizer(), Way::kOut);
  return as_quantized(frame.adopted(as_dense(native, frame.native().native_dense)),
                      keys(frame, c10::DispatchKey::Quantized, Way::kOut), std::move(quantizer));
}

}  // namespace torchdevice::forward
