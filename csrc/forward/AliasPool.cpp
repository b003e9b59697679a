// forward/AliasPool.cpp: reusable native tensors that stand for CUDA tensors while a native kernel runs.

#include "forward/AliasPool.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/COW.h>

#include "allocator/BorrowedMemory.h"
#include "allocator/CachingAllocator.h"
#include "forward/Masquerade.h"
#include "forward/TensorAccess.h"
#include "native/Backend.h"
#include "runtime/AutogradEngine.h"
#include "versions/Versions.h"

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
  native.set_data_ptr_noswap(at::DataPtr(native.data_ptr().get(), owner, &release_source_storage, device));
}

/// Reading a lazy clone must not make it real: the alias becomes one more clone of the same memory.
void clone_lazily(c10::StorageImpl& source, c10::StorageImpl& native) {
  at::DataPtr memory = std::move(c10::impl::cow::lazy_clone_storage(source)->_mutable_data_ptr_no_checks());
  memory.unsafe_set_device(native.device());
  versions::become_lazy_clone(native, std::move(memory));
}

/// Kernels also write to arguments whose types do not say so: what this made real belongs to the source.
void end_lazy_clone(c10::StorageImpl& native, c10::StorageImpl& source, bool escaped) {
  const bool still_lazy = versions::is_lazy_clone(native);
  const c10::Device device = native.device();
  at::DataPtr memory = versions::replace_memory(native, at::DataPtr(nullptr, device));
  if (!still_lazy && memory.get_context() != nullptr) {
    memory.unsafe_set_device(source.device());
    versions::replace_memory(source, std::move(memory));
  }
  if (escaped) {
    native.set_data_ptr_noswap(at::DataPtr(source.mutable_data(), device));
  }
}

/// Gives back what the fast path of release() does not: a borrowed or lazy storage, an alias that somebody kept.
void end_alias(AliasSlot& slot) noexcept {
  c10::Storage& held = TensorAccess::storage(*slot.native.unsafeGetTensorImpl());
  const bool tensor_escaped = slot.native.use_count() != 1;
  const bool storage_replaced = held.unsafeGetStorageImpl() != slot.storage;
  if (slot.parked) {
    if (!tensor_escaped && !storage_replaced) {
      held = std::move(slot.parked);
      slot.storage = held.unsafeGetStorageImpl();
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
  }
}

}  // namespace

void AliasPool::grow() {
  chunks_.push_back(std::make_unique<Chunk>());
  AliasPlace* below = last_;
  for (AliasPlace& place : *chunks_.back()) {
    place.below = below;
    if (below != nullptr) {
      below->above = &place;
      place.height = below->height + 1;
    }
    below = &place;
  }
  last_ = below;
}

void AliasPool::renew(AliasPlace& place) {
  if (place.above == nullptr) {
    grow();
  }
  place.native = new_alias(native_);
  place.storage = place.native.storage().unsafeGetStorageImpl();
}

void AliasPool::refuse_without_storage(const c10::TensorImpl& source) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "torchdevice: a tensor of layout ", source.layout(),
                              " without storage has no forwarding on 'cuda'; run this part on the CPU");
}

void AliasPool::borrow_memory(AliasSlot& slot, const AliasSlot& lender) {
  slot.parked = std::exchange(TensorAccess::storage(*slot.native.unsafeGetTensorImpl()), lender.native.storage());
  slot.storage = lender.storage;
}

void AliasPool::lend_memory(AliasSlot& slot, c10::StorageImpl& source, bool written) const {
  c10::StorageImpl& storage = *slot.storage;
  storage.unsafe_set_nbytes(source.nbytes());
  storage.set_resizable(source.resizable());
  // Other devices' kernels write to memory without asking for its mutable address, and a clone on the host has another.
  const bool asks_before_it_writes = native_.native_device.is_cpu() && !native_.translates_addresses;
  if (!written && asks_before_it_writes && c10::impl::cow::is_cow_data_ptr(source.data_ptr())) {
    clone_lazily(source, storage);
    slot.lazy_clone = true;
    return;
  }
  // Makes a lazy clone real before a kernel can write to it; frees what a kernel that threw had allocated for the
  // alias.
  storage._mutable_data_ptr_no_checks() = at::DataPtr(native_address(source), native_.native_device);
}

AliasSlot& AliasPool::push_unusual(c10::TensorImpl& source, c10::StorageImpl& source_storage,
                                   const AliasSlot* same_storage, bool written) {
  check_borrowed(source_storage, TensorAccess::storage_offset(source), source.itemsize());
  AliasPlace& slot = *top_;
  if (slot.storage == nullptr) {
    renew(slot);
  }
  TensorAccess::copy_metadata(source, *slot.native.unsafeGetTensorImpl(), native_.alias_word);
  if (same_storage == nullptr) {
    lend_memory(slot, source_storage, written);
  } else {
    borrow_memory(slot, *same_storage);
  }
  return keep_alias(slot, source, source_storage);
}

AliasSlot& AliasPool::alias_after_search(c10::TensorImpl& source, c10::StorageImpl& source_storage, AliasPlace* base,
                                         bool written) {
  if (top_->height - base->height >= kLinearSearch) {
    return alias_in_long_list(source, source_storage, base, written);
  }
  const AliasSlot* same_storage = nullptr;
  for (AliasPlace* other = base; other != top_; other = other->above) {
    if (other->source == &source) {
      return *other;
    }
    if (other->source_storage == &source_storage && same_storage == nullptr) {
      same_storage = other;
    }
  }
  return push_unusual(source, source_storage, same_storage, written);
}

AliasSlot& AliasPool::alias_in_long_list(c10::TensorImpl& source, c10::StorageImpl& source_storage, AliasPlace* base,
                                         bool written) {
  if (index_.base != base || index_.indexed->height > top_->height) {
    index_ = {{}, base, base};
  }
  for (; index_.indexed != top_; index_.indexed = index_.indexed->above) {
    index_.by_source.emplace(index_.indexed->source, index_.indexed);
    index_.by_source.emplace(index_.indexed->source_storage, index_.indexed);
  }
  if (auto found = index_.by_source.find(&source); found != index_.by_source.end()) {
    return *found->second;
  }
  if (auto shared = index_.by_source.find(&source_storage); shared != index_.by_source.end()) {
    return push_unusual(source, source_storage, shared->second, written);
  }
  return push(source, source_storage, written);
}

AliasSlot* AliasPool::find(const c10::TensorImpl* native, AliasPlace* base) noexcept {
  for (AliasPlace* slot = base; slot != top_; slot = slot->above) {
    if (slot->native.unsafeGetTensorImpl() == native) {
      return slot;
    }
  }
  return nullptr;
}

AliasSlot* AliasPool::find_storage(const c10::StorageImpl* native, AliasPlace* base) noexcept {
  for (AliasPlace* slot = base; slot != top_; slot = slot->above) {
    if (slot->storage == native) {
      return slot;
    }
  }
  return nullptr;
}

void AliasPool::release_slowly(AliasPlace* base) noexcept {
  index_ = {};
  // Last first: a borrower of a storage is always above its lender.
  while (top_ != base) {
    top_ = top_->below;
    if (!is_untouched(*top_)) {
      end_alias(*top_);
    }
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
  // Not at activation: torch makes a backend's allocator when the backend is used.
  static const auto* const allocator = masquerade.allocator = host_masquerade.allocator = &caching_allocator();
  static_cast<void>(allocator);
  keep_backward_on_this_thread();
  thread_state.aliases = new AliasPool(masquerade);
  return *thread_state.aliases;
}

}  // namespace torchdevice::forward
