// versions/Versions.h: what differs between the supported releases of torch, 2.12 to 2.15; nobody else asks for it.

#pragma once

#include <c10/core/StorageImpl.h>
#include <c10/core/impl/COW.h>
#include <c10/core/impl/COWDeleter.h>
#include <c10/util/Registry.h>

#include <cstddef>
#include <type_traits>
#include <utility>

// Templates all: there a name that a release lacks may be asked for, elsewhere it is an error.
namespace torchdevice::versions {

// Lazy clones. Since 2.13 a storage has the function that makes it real; in 2.12 its memory's deleter tells.

template <class Storage>
concept HasMaterializer = requires(Storage& storage) { storage.clear_materializer(); };

/// Whether the first write to the storage makes a copy of its memory.
template <class Storage>
C10_ALWAYS_INLINE bool is_lazy_clone(Storage& storage) {
  if constexpr (HasMaterializer<Storage>) {
    return storage.has_materializer();
  } else {
    return storage._mutable_data_ptr_no_checks().get_deleter() == &c10::impl::cow::cow_deleter;
  }
}

/// Gives a storage, which is no lazy clone yet, the memory of one.
template <class Storage>
void become_lazy_clone(Storage& storage, c10::DataPtr memory) {
  storage.set_data_ptr_noswap(std::move(memory));
  if constexpr (HasMaterializer<Storage>) {
    using namespace c10::impl::cow;  // 2.12 has no name of this kind there
    storage.set_materializer([](Storage* lazy) { materialize_cow(lazy); });
  }
}

/// Gives a storage memory that is its own, and returns what it had, without making a lazy clone real.
template <class Storage>
c10::DataPtr replace_memory(Storage& storage, c10::DataPtr memory) {
  c10::DataPtr before = std::move(storage._mutable_data_ptr_no_checks());
  if constexpr (HasMaterializer<Storage>) {
    storage.clear_materializer();
  }
  storage.set_data_ptr_noswap(std::move(memory));
  return before;
}

// Memory statistics. Since 2.13 they have a table of the memory that each private pool reserves.

/// Calls `use` with that table, if there is one.
template <class DeviceStats, class Use>
void with_private_pools(DeviceStats& stats, Use use) {
  if constexpr (requires { stats.reserved_bytes_by_private_pools; }) {
    use(stats.reserved_bytes_by_private_pools);
  }
}

// MPS. 2.12 has no MPSHooksInterface::getMaxBufferLength(), and its registry hands on an argument, an empty struct.

template <class Hooks>
concept HasMaxBufferLength = requires(const Hooks& hooks) { hooks.getMaxBufferLength(); };

/// The hooks, with the virtual function where it is missing: nobody calls it there.
template <class Hooks>
struct WithMaxBufferLength : Hooks {
  virtual size_t getMaxBufferLength() const { return 0; }
};
template <HasMaxBufferLength Hooks>
struct WithMaxBufferLength<Hooks> : Hooks {};

template <class Hooks>
size_t max_buffer_length(const Hooks& hooks) {
  if constexpr (HasMaxBufferLength<Hooks>) {
    return hooks.getMaxBufferLength();
  } else {
    return 0;
  }
}

/// What a registry makes for a key, of default arguments if it wants any.
template <class Key, class Made, class... Arguments>
Made create(c10::Registry<Key, Made, Arguments...>& registry, const std::type_identity_t<Key>& key) {
  return registry.Create(key, Arguments()...);
}

}  // namespace torchdevice::versions
