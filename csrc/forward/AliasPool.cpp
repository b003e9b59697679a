// forward/AliasPool.cpp: reusable native tensors that stand for CUDA tensors while a native kernel runs.

#include "forward/AliasPool.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/COW.h>

#include "forward/Masquerade.h"
#include "forward/TensorAccess.h"
#include "native/Backend.h"

namespace torchdevice::forward {
namespace {

at::Tensor new_alias(const Masquerade& native) {
  // Pooled aliases also serve calls outside of the inference mode that this call may run in.
  const c10::InferenceMode no_inference(false);
  auto storage = c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), /*size_bytes=*/0, at::DataPtr(nullptr, native.native_device),
      c10::GetAllocator(native.native_device.type()), /*resizable=*/true);
  return at::detail::make_tensor<c10::TensorImpl>(c10::Storage(std::move(storage)), native.native_dense,
                                                  caffe2::TypeMeta::Make<float>());
}

void release_source_storage(void* context) { delete static_cast<c10::Storage*>(context); }

/// The alias outlives the call: make its storage hold the memory it points to.
void make_owning(c10::StorageImpl& native, c10::StorageImpl& source) {
  const c10::Device device = native.device();
  auto* owner = new c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(&source));
  native.set_data_ptr_noswap(
      at::DataPtr(native.data_ptr().get(), owner, &release_source_storage, device));
}

bool is_lazy_clone(const c10::StorageImpl& storage) {
  return storage.has_materializer() && c10::impl::cow::is_cow_data_ptr(storage.data_ptr());
}

/// Metal kernels write to a buffer without asking for its mutable address, and a clone on the host has another one.
bool writes_unannounced(const Masquerade& native) {
  return native.translates_addresses || !native.native_device.is_cpu();
}

/// Reading a lazy clone must not make it real: the alias becomes one more clone of the same memory.
void clone_lazily(c10::StorageImpl& source, c10::StorageImpl& native) {
  at::DataPtr memory = std::move(c10::impl::cow::lazy_clone_storage(source)->_mutable_data_ptr_no_checks());
  memory.unsafe_set_device(native.device());
  native.set_data_ptr_noswap(std::move(memory));
  native.set_materializer(&c10::impl::cow::materialize_cow);
}

/// Kernels also write to arguments whose types do not say so: what this made real belongs to the source.
void end_lazy_clone(c10::StorageImpl& native, c10::StorageImpl& source, bool escaped) {
  const bool still_lazy = native.has_materializer();
  native.clear_materializer();
  const c10::Device device = native.device();
  at::DataPtr memory = native.set_data_ptr(at::DataPtr(nullptr, device));
  if (!still_lazy && memory.get_context() != nullptr) {
    memory.unsafe_set_device(source.device());
    source.clear_materializer();
    source.set_data_ptr_noswap(std::move(memory));
  }
  if (escaped) {
    native.set_data_ptr_noswap(at::DataPtr(source.mutable_data(), device));
  }
}

}  // namespace

AliasSlot& AliasPool::push(c10::TensorImpl& source, AliasSlot* same_storage, bool written) {
  if (size_ == chunks_.size() * kChunk) {
    chunks_.push_back(std::make_unique<Chunk>());
  }
  AliasSlot& top = slot(size_);
  if (C10_UNLIKELY(!top.native.defined())) {
    top.native = new_alias(native_);
    top.storage = top.native.storage().unsafeGetStorageImpl();
  }
  fill(top, source, same_storage, written);
  ++size_;  // only now: what could not be filled is not in the pool
  return top;
}

void AliasPool::fill(AliasSlot& slot, c10::TensorImpl& source, AliasSlot* same_storage, bool written) {
  c10::TensorImpl& native = *slot.native.unsafeGetTensorImpl();
  c10::StorageImpl* source_storage = TensorAccess::storage(source).unsafeGetStorageImpl();
  if (same_storage == nullptr) {
    if (C10_UNLIKELY(!written && is_lazy_clone(*source_storage)) && !writes_unannounced(native_)) {
      clone_lazily(*source_storage, *slot.storage);
      slot.lazy_clone = true;
    } else {
      // mutable_data() also makes a lazy clone real before a native kernel can write to it.
      slot.storage->_mutable_data_ptr_no_checks() =
          at::DataPtr(native_address(*source_storage), native_.native_device);
    }
    slot.storage->unsafe_set_nbytes(source_storage->nbytes());
    slot.storage->set_resizable(source_storage->resizable());
  } else {
    slot.parked = std::exchange(TensorAccess::storage(native), same_storage->native.storage());
    slot.storage = same_storage->storage;
  }
  TensorAccess::copy_metadata(source, native);
  TensorAccess::keys(native) = alias_keys(source.key_set(), native_);
  TensorAccess::device(native) = native_.native_device;
  slot.source_storage = source_storage;
  slot.source = &source;
}

AliasSlot& AliasPool::alias(c10::TensorImpl& source, size_t base, bool written) {
  c10::StorageImpl* source_storage = TensorAccess::storage(source).unsafeGetStorageImpl();
  TORCH_CHECK_NOT_IMPLEMENTED((source.key_set().raw_repr() & kDenseKey) != 0 && source_storage != nullptr,
                              "torchdevice: tensors of layout ", source.layout(),
                              " have no forwarding on 'cuda' yet; use a dense tensor, or run this part on the CPU");
  if (C10_UNLIKELY(size_ - base >= kLinearSearch)) {
    return alias_in_long_list(source, source_storage, base, written);
  }
  AliasSlot* same_storage = nullptr;
  for (size_t i = base; i < size_; ++i) {
    AliasSlot& other = slot(i);
    if (other.source == &source) {
      return other;
    }
    if (other.source_storage == source_storage && same_storage == nullptr) {
      same_storage = &other;
    }
  }
  return push(source, same_storage, written);
}

AliasSlot& AliasPool::alias_in_long_list(c10::TensorImpl& source, c10::StorageImpl* source_storage, size_t base,
                                         bool written) {
  if (index_.base != base || index_.indexed > size_) {
    index_ = {{}, base, base};
  }
  for (; index_.indexed < size_; ++index_.indexed) {
    AliasSlot& known = slot(index_.indexed);
    index_.by_source.emplace(known.source, &known);
    index_.by_source.emplace(known.source_storage, &known);
  }
  if (auto found = index_.by_source.find(&source); found != index_.by_source.end()) {
    return *found->second;
  }
  auto shared = index_.by_source.find(source_storage);
  return push(source, shared == index_.by_source.end() ? nullptr : shared->second, written);
}

AliasSlot* AliasPool::find(const c10::TensorImpl* native, size_t base) noexcept {
  for (size_t i = base; i < size_; ++i) {
    if (slot(i).native.unsafeGetTensorImpl() == native) {
      return &slot(i);
    }
  }
  return nullptr;
}

AliasSlot* AliasPool::find_storage(const c10::StorageImpl* native, size_t base) noexcept {
  for (size_t i = base; i < size_; ++i) {
    if (slot(i).storage == native) {
      return &slot(i);
    }
  }
  return nullptr;
}

void AliasPool::release(AliasSlot& slot) noexcept {
  c10::Storage& held = TensorAccess::storage(*slot.native.unsafeGetTensorImpl());
  const bool tensor_escaped = slot.native.use_count() != 1;
  const bool storage_replaced = held.unsafeGetStorageImpl() != slot.storage;
  if (slot.parked) {
    if (!tensor_escaped && !storage_replaced) {
      held = std::move(slot.parked);
      slot.storage = held.unsafeGetStorageImpl();
      slot.source = nullptr;
      slot.source_storage = nullptr;
      slot.parked = {};
      return;
    }
    // The lender's slot finds its storage still in use and makes it owning.
    slot = {};
    return;
  }
  const bool storage_escaped = !storage_replaced && held.use_count() != 1;
  if (C10_UNLIKELY(std::exchange(slot.lazy_clone, false)) && !storage_replaced) {
    end_lazy_clone(*slot.storage, *slot.source_storage, tensor_escaped || storage_escaped);
  }
  if (C10_UNLIKELY(tensor_escaped || storage_replaced || storage_escaped)) {
    if (!storage_replaced) {
      make_owning(*slot.storage, *slot.source_storage);
    }
    slot = {};
    return;
  }
  slot.source = nullptr;
  slot.source_storage = nullptr;
}

void AliasPool::release(size_t base) noexcept {
  if (C10_UNLIKELY(size_ - base > kLinearSearch)) {
    index_ = {};
  }
  // Last first: a borrower of a storage is always above its lender.
  while (size_ > base) {
    release(slot(--size_));
  }
}

AliasPool& AliasPool::on_host() {
  if (outer_ != nullptr) {
    return *this;
  }
  if (host_ == nullptr) {
    host_ = std::make_unique<AliasPool>(host_masquerade);
    host_->outer_ = this;
  }
  return *host_;
}

void* AliasPool::host_address(void* memory) { return native_backend().host_address(memory); }

AliasPool& make_alias_pool() {
  // Kernels that run even later in the thread's life get a pool that is never freed.
  struct Cleanup {
    ~Cleanup() { delete std::exchange(thread_state.aliases, nullptr); }
  };
  static thread_local const Cleanup cleanup;
  static_cast<void>(&cleanup);
  thread_state.aliases = new AliasPool(masquerade);
  return *thread_state.aliases;
}

}  // namespace torchdevice::forward
