// forward/AliasPool.h: reusable native tensors that stand for CUDA tensors while a native kernel runs.

#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "forward/Masquerade.h"
#include "runtime/ThreadState.h"

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

/// A thread's stack of alias slots. Slots never move, so that kernels may hold references to their tensors.
class AliasPool {
 public:
  /// Its aliases are tensors of `native`'s device.
  explicit AliasPool(const Masquerade& native) : native_(native) {}

  const Masquerade& native() const noexcept { return native_; }
  size_t size() const noexcept { return size_; }

  /// This thread's pool for the CPU, where the native backend is another one, and the one for that backend.
  AliasPool& on_host();
  AliasPool& on_native() noexcept { return outer_ != nullptr ? *outer_ : *this; }

  /// Where kernels of `native`'s device find the memory of `source`.
  void* native_address(c10::StorageImpl& source) const {
    void* memory = source.mutable_data();
    return C10_LIKELY(!native_.translates_addresses) ? memory : host_address(memory);
  }

  /// The alias of `source` among the slots from `base` up, made if there is none. Two sources over one storage get
  /// aliases over one storage, since kernels look for overlap.
  AliasSlot& alias(c10::TensorImpl& source, size_t base, bool written = false);

  /// The slot from `base` up whose alias is `native`, or nullptr.
  AliasSlot* find(const c10::TensorImpl* native, size_t base) noexcept;
  AliasSlot* find_storage(const c10::StorageImpl* native, size_t base) noexcept;

  /// Give back the slots from `base` up. What somebody kept becomes an owning alias and leaves the pool.
  void release(size_t base) noexcept;

 private:
  static constexpr size_t kChunk = 32;
  /// From this many aliases in one call on, a hash table finds duplicates (operators on lists of parameters).
  static constexpr size_t kLinearSearch = 16;
  using Chunk = std::array<AliasSlot, kChunk>;

  AliasSlot& slot(size_t i) noexcept { return (*chunks_[i / kChunk])[i % kChunk]; }
  /// A new slot on top; the pool is as it was if the alias cannot be made.
  AliasSlot& push(c10::TensorImpl& source, AliasSlot* same_storage, bool written);
  void fill(AliasSlot& slot, c10::TensorImpl& source, AliasSlot* same_storage, bool written);
  AliasSlot& alias_in_long_list(c10::TensorImpl& source, c10::StorageImpl* source_storage, size_t base, bool written);
  void release(AliasSlot& slot) noexcept;
  static void* host_address(void* memory);

  const Masquerade& native_;
  std::unique_ptr<AliasPool> host_;  ///< made by the first fallback
  AliasPool* outer_ = nullptr;       ///< whose host_ this is
  std::vector<std::unique_ptr<Chunk>> chunks_;
  size_t size_ = 0;

  struct Index {
    std::unordered_map<const void*, AliasSlot*> by_source;  ///< TensorImpl or StorageImpl of the source
    size_t base = 0;
    size_t indexed = 0;  ///< slots below this are in the table
  };
  Index index_;
};

AliasPool& make_alias_pool();

/// The calling thread's pool.
inline AliasPool& alias_pool() {
  AliasPool* pool = thread_state.aliases;
  return C10_LIKELY(pool != nullptr) ? *pool : make_alias_pool();
}

}  // namespace torchdevice::forward
