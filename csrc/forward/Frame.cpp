// forward/Frame.cpp: one forwarded call: aliases on the way in, adoption on the way out.

#include "forward/Frame.h"

#include "forward/Layouts.h"
#include "forward/TensorAccess.h"
#include "native/Backend.h"
#include "versions/Versions.h"

namespace torchdevice::forward {
namespace {

/// The storage of a native result becomes the device's. Only its label changes: the memory already is.
void adopt_storage(c10::StorageImpl& storage, c10::Device device, const Masquerade& native) {
  storage._mutable_data_ptr_no_checks().unsafe_set_device(device);
  storage.set_allocator(native.allocator);
}

void adopt_tensor(c10::TensorImpl& tensor, c10::Device device, c10::DispatchKeySet keys) {
  TensorAccess::keys(tensor) = keys;
  *TensorAccess::device(tensor) = device;
}

/// A native result that nobody else holds becomes the device's where it is.
C10_ALWAYS_INLINE void adopt_in_place(c10::TensorImpl& result, c10::Device device, c10::DispatchKeySet keys,
                                      const Masquerade& native) {
  adopt_storage(*TensorAccess::storage(result).unsafeGetStorageImpl(), device, native);
  adopt_tensor(result, device, keys);
}

/// Nobody else holds the result or its storage.
C10_ALWAYS_INLINE bool is_fresh(c10::TensorImpl& result) {
  const c10::StorageImpl* storage = TensorAccess::storage(result).unsafeGetStorageImpl();
  return TensorAccess::is_held_once(result) && storage != nullptr && TensorAccess::is_held_once(*storage);
}

void release_native_storage(void* context) { delete static_cast<c10::Storage*>(context); }

/// Whether values are conjugated or negated when they are read.
uint64_t lazy_bits(const c10::TensorImpl& tensor) {
  constexpr uint64_t kLazyBits = bits(c10::DispatchKeySet({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative}));
  return tensor.key_set().raw_repr() & kLazyBits;
}

bool is_dense_cuda(const c10::TensorImpl& tensor) {
  constexpr uint64_t kDenseCuda = kDenseKey | kCudaBackendBit;
  return (tensor.key_set().raw_repr() & kDenseCuda) == kDenseCuda;
}

bool same_geometry(const c10::TensorImpl& a, const c10::TensorImpl& b) {
  const auto& left = TensorAccess::geometry(a);
  const auto& right = TensorAccess::geometry(b);
  bool same = TensorAccess::storage_offset(a) == TensorAccess::storage_offset(b) && left.size() == right.size();
  // Plain loops: two calls of memcmp cost more than the few numbers that there are.
  for (size_t i = 0; same && i < left.size(); ++i) {
    same = left.size_at_unchecked(i) == right.size_at_unchecked(i) &&
           left.stride_at_unchecked(i) == right.stride_at_unchecked(i);
  }
  return same;
}

/// Whether a written alias has the memory and the metadata that it got from its source.
bool is_as_lent(const AliasPool& pool, const AliasSlot& slot) {
  const c10::TensorImpl& native = *slot.native.unsafeGetTensorImpl();
  const c10::StorageImpl& written = *slot.storage;
  c10::StorageImpl& target = *slot.source_storage;
  return TensorAccess::has_storage(native, slot.storage) && written.data() == pool.native_address(target) &&
         written.nbytes() == target.nbytes() && lazy_bits(native) == lazy_bits(*slot.source) &&
         same_geometry(native, *slot.source);
}

}  // namespace

const at::Tensor& Frame::pass(const at::Tensor& tensor, bool written) {
  c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  if (C10_LIKELY(is_dense_cuda(impl))) {
    see_device(TensorAccess::device(impl)->index());
    return pool_.alias(impl, base_, written).native;
  }
  return pass_unusual(tensor, written);
}

const at::Tensor& Frame::pass_unusual(const at::Tensor& tensor, bool written) {
  c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  if (tensor.is_cuda()) {
    return pass_other_layout(tensor);
  }
  if (C10_UNLIKELY(native().translates_addresses && tensor.defined() &&
                   tensor.device().type() == masquerade.native_device.type())) {
    foreign_ = true;
    return pool_.alias(impl, base_, written).native;
  }
  if (tensor.defined()) {
    const bool scalar = !written && impl.is_cpu() && impl.dim() == 0;
    (scalar ? cpu_scalar_ : foreign_) = true;
  }
  return tensor;
}

const at::Tensor& Frame::pass_other_layout(const at::Tensor& tensor) {
  see_device(tensor.device().index());
  if (layouts_ == nullptr) {
    layouts_ = new LayoutAliases();
  }
  return layouts_->pass(*this, tensor);
}

void Frame::release_with_layouts() noexcept {
  delete layouts_;
  pool_.release(base_);
}

void Frame::adopt(at::Tensor& result) {
  c10::TensorImpl& impl = *result.unsafeGetTensorImpl();
  if (C10_UNLIKELY(impl.key_set().raw_repr() != native().usual_result_keys || !is_fresh(impl))) {
    result = adopt_unusual(std::move(result));
    return;
  }
  adopt_in_place(impl, device(), native().usual_adopted_keys, native());
}

/// Nothing, a result of inference mode, a conjugated one, ...
at::Tensor Frame::adopt_unusual(at::Tensor&& result) {
  if (!result.defined()) {
    return std::move(result);
  }
  c10::TensorImpl& impl = *result.unsafeGetTensorImpl();
  const uint64_t expected = native().dense_native_keys;
  const bool dense_native = (impl.key_set().raw_repr() & expected) == expected;
  if (!dense_native || !is_fresh(impl)) {
    return adopt_shared(std::move(result));
  }
  adopt_in_place(impl, device(), adopted_keys(impl.key_set(), native()), native());
  return std::move(result);
}

/// A CUDA storage over the memory of a native one that somebody else may hold.
c10::Storage Frame::share_storage(const c10::Storage& native) {
  auto* owner = new c10::Storage(native);
  at::DataPtr memory(native.mutable_data(), owner, &release_native_storage, device());
  if (pool_.native().translates_addresses) {
    memory = native_backend().from_host(std::move(memory), native.nbytes());
    memory.unsafe_set_device(device());
  }
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), native.nbytes(),
                                                            std::move(memory), pool_.native().allocator,
                                                            /*resizable=*/true));
}

at::Tensor Frame::adopt_shared(at::Tensor&& result) {
  c10::TensorImpl& impl = *result.unsafeGetTensorImpl();
  if (AliasSlot* slot = pool_.find(&impl, base_)) {
    return at::Tensor(c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim_copy(slot->source));
  }
  if (impl.device().type() == c10::DeviceType::CUDA) {
    return std::move(result);
  }
  if (has_known_layout(impl)) {
    const at::Tensor source = layouts_ != nullptr ? layouts_->source_of(result) : at::Tensor();
    return source.defined() ? source : adopt_layout(*this, result);
  }
  c10::StorageImpl* native = TensorAccess::storage(impl).unsafeGetStorageImpl();
  TORCH_CHECK_NOT_IMPLEMENTED((impl.key_set().raw_repr() & kDenseKey) != 0 && native != nullptr,
                              "torchdevice: this operator's result has layout ", impl.layout(),
                              ", which has no forwarding on 'cuda' yet; run this part on the CPU");
  AliasSlot* viewed = pool_.find_storage(native, base_);
  const bool fresh = viewed == nullptr && result.use_count() == 1 && TensorAccess::storage(impl).use_count() == 1;
  if (fresh && pool_.native().translates_addresses) {
    at::DataPtr& memory = native->_mutable_data_ptr_no_checks();
    memory = native_backend().from_host(std::move(memory), native->nbytes());
    adopt_in_place(impl, device(), adopted_keys(impl.key_set(), pool_.native()), pool_.native());
    return std::move(result);
  }
  c10::Storage storage = viewed != nullptr
                             ? c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(viewed->source_storage))
                             : share_storage(TensorAccess::storage(impl));
  // Somebody may hold the native tensor itself, so the result is a new one.
  auto adopted = impl.shallow_copy_and_detach(c10::VariableVersion(0), /*allow_tensor_metadata_change=*/true);
  TensorAccess::storage(*adopted) = std::move(storage);
  adopt_tensor(*adopted, device(), adopted_keys(impl.key_set(), pool_.native()));
  return at::Tensor(std::move(adopted));
}

void Frame::commit(const at::Tensor& source) {
  c10::TensorImpl& impl = *source.unsafeGetTensorImpl();
  if (is_dense_cuda(impl)) {
    const AliasPlace* first = base_;
    if (C10_LIKELY(first != pool_.top() && first->source == &impl && is_as_lent(pool_, *first))) {
      return;  // the argument that most in-place operators write to
    }
    return commit_dense(impl);
  }
  if (layouts_ != nullptr) {
    layouts_->commit(*this, source);
  }
}

void Frame::commit_dense(c10::TensorImpl& impl) {
  // A new view of a part that a kernel resized gets an alias only now: it shares the storage that is to be taken over.
  const AliasSlot& slot = pool_.alias(impl, base_, /*written=*/true);
  if (is_as_lent(pool_, slot)) {
    return;
  }
  c10::TensorImpl& native = *slot.native.unsafeGetTensorImpl();
  c10::StorageImpl& written = *TensorAccess::storage(native).unsafeGetStorageImpl();
  c10::StorageImpl& target = *slot.source_storage;
  if (&written != slot.storage) {
    TensorAccess::storage(impl) = share_storage(TensorAccess::storage(native));
  } else {
    if (written.data() != pool_.native_address(target)) {
      at::DataPtr memory = std::move(written._mutable_data_ptr_no_checks());
      written._mutable_data_ptr_no_checks() = at::DataPtr(memory.get(), pool_.native().native_device);
      if (pool_.native().translates_addresses) {
        memory = native_backend().from_host(std::move(memory), written.nbytes());
      }
      memory.unsafe_set_device(device());
      versions::replace_memory(target, std::move(memory));
    }
    if (written.nbytes() != target.nbytes()) {
      target.set_nbytes(written.nbytes());
    }
  }
  if (const uint64_t changed = lazy_bits(native) ^ lazy_bits(impl)) {
    auto& keys = TensorAccess::keys(impl);
    keys = c10::DispatchKeySet(c10::DispatchKeySet::RAW, keys.raw_repr() ^ changed);
  }
  if (!same_geometry(native, impl)) {
    impl.set_sizes_and_strides(native.sizes(), native.strides(), TensorAccess::storage_offset(native));
  }
}

}  // namespace torchdevice::forward
