// versions/Versions.h: what differs between the supported releases of torch, 2.12 to 2.15; nobody else asks for it.

#pragma once

#include <c10/core/StorageImpl.h>
#include <c10/core/impl/COW.h>
#include <c10/core/impl/COWDeleter.h>
#include <c10/util/Registry.h>
#include <torch/headeronly/version.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

namespace at {
class Tensor;
}  // namespace at
namespace c10d {
struct GatherOptions;
class Work;
}  // namespace c10d

// Templates: there a name that a release lacks may be asked for, elsewhere it is an error.
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

// Memory history. Since 2.14 a live block can be annotated, which is an entry of its own.

/// The kind of that entry, of `Entry`, c10::CachingDeviceAllocator::TraceEntry; none before.
template <class Entry>
constexpr std::optional<typename Entry::Action> annotation() {
  if constexpr (requires { Entry::ANNOTATE; }) {
    return Entry::ANNOTATE;
  } else {
    return std::nullopt;
  }
}

/// `HostAllocator` is at::HostAllocator, whose history is recorded since 2.14 as well.
template <class HostAllocator>
concept RecordsHistory = requires(HostAllocator& allocator) { allocator.is_history_enabled(); };

// MPS. 2.12 has no MPSHooksInterface::getMaxBufferLength(), and its registry hands on an argument, an empty struct.

template <class Hooks>
concept HasMaxBufferLength = requires(const Hooks& hooks) { hooks.getMaxBufferLength(); };

/// The hooks, with the virtual function where it is missing: nobody calls it there.
template <class Hooks>
struct WithMaxBufferLength : Hooks {
  virtual size_t getMaxBufferLength() const { return 0; }  // NOLINT(readability-identifier-naming): torch's
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

// Generators. Since 2.14 torch.Generator.philox_state() reserves random numbers for a program's own kernels.

template <class Generator>
concept ReservesNumbers = requires { &Generator::philox_state; };

/// The generator's base, with the virtual function where it is missing.
template <class Generator>
struct NewerGenerator : Generator {
  using Generator::Generator;
  virtual void philox_state(uint64_t increment, at::Tensor& seed, at::Tensor& offset,
                            at::Tensor& intragraph_offset) = 0;
};
template <ReservesNumbers Generator>
struct NewerGenerator<Generator> : Generator {
  using Generator::Generator;
};

// torch.distributed. Since 2.14 a backend has more virtual functions, of which these two are ours.

template <class Backend>
concept GathersSingle = requires { &Backend::gather_single; };

template <class Backend>
struct NewerBackend : Backend {
  using Backend::Backend;
  virtual c10::intrusive_ptr<c10d::Work> gather_single(at::Tensor&, at::Tensor&, const c10d::GatherOptions&) = 0;
  virtual void addEphemeralTimeout(const std::chrono::milliseconds&) = 0;  // NOLINT(readability-identifier-naming)
};
template <GathersSingle Backend>
struct NewerBackend<Backend> : Backend {
  using Backend::Backend;
};

// CUDA graphs. Before 2.14 enable_debug_mode() was for all graphs; since then it keeps the graph that it is called of.

constexpr bool kDebugModeKeepsGraph = TORCH_VERSION_MINOR >= 14;

}  // namespace torchdevice::versions
