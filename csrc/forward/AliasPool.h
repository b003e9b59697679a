// forward/AliasPool.h: reusable native tensors that stand for CUDA tensors while a native kernel runs.

#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "forward/Masquerade.h"
#include "forward/TensorAccess.h"
#include "runtime/ThreadState.h"
#include "versions/Versions.h"

namespace torchdevice::forward {

/// One alias. `native` and its storage are reused from call to call; filling them allocates nothing.
struct AliasSlot {
  at::Tensor native;
  /// The pooled StorageImpl of `native`, or another slot's while both sources share one storage.
  c10::StorageImpl* storage = nullptr;
  /// This slot's own storage while `native` borrows another slot's.
  c10::Storage parked;
  c10::TensorImpl* source = nullptr;
  c10::StorageImpl* source_storage = nullptr;
  /// The source is copied on write, and so is `native`.
  bool lazy_clone = false;
};

/// A place in the pool's stack, which is linked so that slots never move.
struct AliasPlace : AliasSlot {
  AliasPlace* below = nullptr;
  AliasPlace* above = nullptr;
  size_t height = 0;
};

/// A thread's stack of alias slots. Kernels may hold references to their tensors.
class AliasPool {
 public:
  /// Its aliases are tensors of `native`'s device.
  explicit AliasPool(const Masquerade& native) : native_(native) {
    grow();
    top_ = chunks_.front()->data();
  }

  const Masquerade& native() const noexcept { return native_; }

  /// This thread's pool for the CPU, where the native backend is another one, and the one for that backend.
  AliasPool& on_host();
  AliasPool& on_native() noexcept { return outer_ != nullptr ? *outer_ : *this; }

  /// Where kernels of `native`'s device find the memory of `source`. Makes a lazy clone real.
  void* native_address(c10::StorageImpl& source) const {
    void* memory = source.mutable_data();
    return C10_LIKELY(!native_.translates_addresses) ? memory : host_address(memory);
  }

  /// The lowest free place: where a call's aliases begin.
  AliasPlace* top() const noexcept { return top_; }
  bool empty() const noexcept { return top_->below == nullptr; }

  /// The alias of `source`, a dense tensor, among the slots from `base` up, made if there is none. Two sources over one
  /// storage get aliases over one storage, since kernels look for overlap.
  AliasSlot& alias(c10::TensorImpl& source, AliasPlace* base, bool written);
  /// The slot from `base` up whose alias is `native`, or nullptr.
  AliasSlot* find(const c10::TensorImpl* native, AliasPlace* base) noexcept;
  AliasSlot* find_storage(const c10::StorageImpl* native, AliasPlace* base) noexcept;

  /// Give back the slots from `base` up. What somebody kept becomes an owning alias and leaves the pool.
  void release(AliasPlace* base) noexcept {
    if (C10_UNLIKELY(index_.base != nullptr)) {
      return release_slowly(base);
    }
    while (top_ != base) {
      AliasPlace* last = top_->below;
      if (C10_UNLIKELY(!is_untouched(*last))) {
        return release_slowly(base);
      }
      top_ = last;
    }
  }

 private:
  static constexpr size_t kChunk = 32;
  /// From this many aliases in one call on, a hash table finds duplicates (operators on lists of parameters).
  static constexpr size_t kLinearSearch = 16;
  using Chunk = std::array<AliasPlace, kChunk>;

  /// Nobody kept the alias or its storage, and both are as pooled.
  static bool is_untouched(const AliasSlot& slot) noexcept {
    const c10::TensorImpl& native = *slot.native.unsafeGetTensorImpl();
    return TensorAccess::is_held_once(native) && TensorAccess::has_storage(native, slot.storage) &&
           TensorAccess::is_held_once(*slot.storage) && !slot.lazy_clone;
  }
  void release_slowly(AliasPlace* base) noexcept;
  /// More free places above all others.
  void grow();
  /// A native tensor for a place that has none yet, or whose last one somebody kept.
  void renew(AliasPlace& place);
  /// A new slot on top; the pool is as it was if the alias cannot be made.
  AliasSlot& push(c10::TensorImpl& source, c10::StorageImpl& source_storage, bool written);
  AliasSlot& push_unusual(c10::TensorImpl& source, c10::StorageImpl& source_storage, const AliasSlot* same_storage,
                          bool written);
  /// The filled slot becomes part of the pool; only now: what could not be filled is not.
  AliasSlot& keep_alias(AliasPlace& slot, c10::TensorImpl& source, c10::StorageImpl& source_storage);
  bool lend_usual_memory(AliasSlot& slot, c10::StorageImpl& source) const;
  void lend_memory(AliasSlot& slot, c10::StorageImpl& source, bool written) const;
  static void borrow_memory(AliasSlot& slot, const AliasSlot& lender);
  [[noreturn]] static void refuse_without_storage(const c10::TensorImpl& source);
  /// The source or its storage has an alias, or there are too many to look through.
  AliasSlot& alias_after_search(c10::TensorImpl& source, c10::StorageImpl& source_storage, AliasPlace* base,
                                bool written);
  AliasSlot& alias_in_long_list(c10::TensorImpl& source, c10::StorageImpl& source_storage, AliasPlace* base,
                                bool written);
  static void* host_address(void* memory);

  const Masquerade& native_;
  std::unique_ptr<AliasPool> host_;  ///< made by the first fallback
  AliasPool* outer_ = nullptr;       ///< whose host_ this is
  std::vector<std::unique_ptr<Chunk>> chunks_;
  AliasPlace* top_ = nullptr;
  AliasPlace* last_ = nullptr;

  struct Index {
    std::unordered_map<const void*, AliasSlot*> by_source;  ///< TensorImpl or StorageImpl of the source
    AliasPlace* base = nullptr;
    AliasPlace* indexed = nullptr;  ///< slots below this are in the table
  };
  Index index_;
};

C10_ALWAYS_INLINE bool AliasPool::lend_usual_memory(AliasSlot& slot, c10::StorageImpl& source) const {
  c10::StorageImpl& storage = *slot.storage;
  storage.unsafe_set_nbytes(source.nbytes());
  // The checks of mutable_data() are for lazy clones, and for fake tensors, which no kernel sees.
  return !versions::is_lazy_clone(source) && storage.resizable() && source.resizable() &&
         storage._mutable_data_ptr_no_checks().unsafe_reset_data_and_ctx(source._mutable_data_ptr_no_checks().get());
}

C10_ALWAYS_INLINE AliasSlot& AliasPool::keep_alias(AliasPlace& slot, c10::TensorImpl& source,
                                                   c10::StorageImpl& source_storage) {
  TensorAccess::keys(*slot.native.unsafeGetTensorImpl()) = alias_keys(source.key_set(), native_);
  slot.source_storage = &source_storage;
  slot.source = &source;
  top_ = slot.above;
  return slot;
}

C10_ALWAYS_INLINE AliasSlot& AliasPool::push(c10::TensorImpl& source, c10::StorageImpl& source_storage, bool written) {
  AliasPlace& slot = *top_;
  // What is unusual ends in another function: so the usual way calls nothing, and has no registers to save.
  if (C10_UNLIKELY(slot.storage == nullptr)) {
    return push_unusual(source, source_storage, nullptr, written);
  }
  c10::TensorImpl& native = *slot.native.unsafeGetTensorImpl();
  if (C10_UNLIKELY(!TensorAccess::copy_usual_metadata(source, native, native_.alias_word) ||
                   !lend_usual_memory(slot, source_storage))) {
    return push_unusual(source, source_storage, nullptr, written);
  }
  return keep_alias(slot, source, source_storage);
}

C10_ALWAYS_INLINE AliasSlot& AliasPool::alias(c10::TensorImpl& source, AliasPlace* base, bool written) {
  c10::StorageImpl* source_storage = TensorAccess::storage(source).unsafeGetStorageImpl();
  if (C10_UNLIKELY(source_storage == nullptr)) {
    refuse_without_storage(source);
  }
  size_t searched = 0;
  for (AliasPlace* other = base; other != top_; other = other->above) {
    if (C10_UNLIKELY(other->source_storage == source_storage || ++searched == kLinearSearch)) {
      return alias_after_search(source, *source_storage, base, written);
    }
  }
  return push(source, *source_storage, written);
}

AliasPool& make_alias_pool();

/// The calling thread's pool.
inline AliasPool& alias_pool() {
  AliasPool* pool = thread_state.aliases;
  return C10_LIKELY(pool != nullptr) ? *pool : make_alias_pool();
}

}  // namespace torchdevice::forward
