// tests/internals/versions.cpp: versions/Versions.h over stand-ins for the types of the releases that are not
// installed.

#include "versions/Versions.h"

#include <c10/core/CPUAllocator.h>

#include <cstdlib>
#include <memory>
#include <string>

namespace {

namespace versions = torchdevice::versions;

int failures = 0;
void expect(bool holds) { failures += !holds; }

/// 2.12's storage: no function makes it real, its memory's deleter tells.
struct OlderStorage {
  c10::DataPtr memory;
  c10::DataPtr& _mutable_data_ptr_no_checks() { return memory; }
  void set_data_ptr_noswap(c10::DataPtr&& other) { memory = std::move(other); }
};
static_assert(!versions::HasMaterializer<OlderStorage>);

c10::DataPtr plain() { return c10::GetCPUAllocator()->allocate(4); }

c10::intrusive_ptr<c10::StorageImpl> storage_with(c10::DataPtr memory) {
  return c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), 4, std::move(memory),
                                               c10::GetCPUAllocator(), /*resizable=*/true);
}

template <class Storage>
void lazy_clones(Storage& storage) {
  expect(!versions::is_lazy_clone(storage));
  const auto source = storage_with(plain());
  versions::become_lazy_clone(storage,
                              std::move(c10::impl::cow::lazy_clone_storage(*source)->_mutable_data_ptr_no_checks()));
  expect(versions::is_lazy_clone(storage));
  const void* shared = source->data();
  c10::DataPtr before = versions::replace_memory(storage, plain());
  expect(!versions::is_lazy_clone(storage));
  expect(before.get() == shared);  // nothing was copied
  expect(storage._mutable_data_ptr_no_checks().get() != shared);
}

struct OlderStats {};
struct NewerStats {
  int reserved_bytes_by_private_pools = 0;
};

struct OlderEntry {
  enum Action { OOM };
};
struct NewerEntry {
  enum Action { OOM, ANNOTATE };
};
static_assert(!versions::annotation<OlderEntry>().has_value());
static_assert(versions::annotation<NewerEntry>() == NewerEntry::ANNOTATE);

struct OlderHooks {
  virtual ~OlderHooks() = default;
};
struct NewerHooks {
  virtual ~NewerHooks() = default;
  virtual size_t getMaxBufferLength() const { return 7; }
};
struct Ours final : versions::WithMaxBufferLength<OlderHooks> {
  size_t getMaxBufferLength() const override { return 9; }
};
static_assert(sizeof(Ours) == sizeof(OlderHooks));

struct Arguments {};
struct Made {
  Made() = default;
  explicit Made(Arguments) : with_arguments(true) {}
  bool with_arguments = false;
};

}  // namespace

int main() {
  OlderStorage older{plain()};
  lazy_clones(older);
  lazy_clones(*storage_with(plain()));

  OlderStats older_stats;
  versions::with_private_pools(older_stats, [](auto&) { std::abort(); });
  NewerStats newer_stats;
  versions::with_private_pools(newer_stats, [](auto& pools) { pools = 3; });
  expect(newer_stats.reserved_bytes_by_private_pools == 3);

  expect(versions::max_buffer_length(OlderHooks()) == 0);
  expect(versions::max_buffer_length(NewerHooks()) == 7);

  c10::Registry<std::string, std::unique_ptr<Made>> newer_registry(/*warning=*/false);
  newer_registry.Register("x", [] { return std::make_unique<Made>(); });
  expect(!versions::create(newer_registry, "x")->with_arguments);
  c10::Registry<std::string, std::unique_ptr<Made>, Arguments> older_registry(/*warning=*/false);
  older_registry.Register("x", [](Arguments arguments) { return std::make_unique<Made>(arguments); });
  expect(versions::create(older_registry, "x")->with_arguments);
  return failures;
}
