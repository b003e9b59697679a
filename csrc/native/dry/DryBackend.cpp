// native/dry/DryBackend.cpp: no machine at all: memory is address space, and nothing is computed in it.

#include "native/dry/DryBackend.h"

#include <sys/mman.h>

#include <cstdint>

namespace torchdevice {
namespace {

// NOLINTNEXTLINE(bugprone-throwing-static-initialization): names and functions only
const RegisteredBackend kDry({
    .name = "dry",
    .title = "a dry run",
    .rank = -1,  // only where it is asked for
    .is_available = [] { return true; },
    .requirement = "",
    .make = []() -> NativeBackend& {
      static auto* const backend = new DryBackend();
      return *backend;
    },
    .prepare = nullptr,
});

HostFacts facts_without_memory() {
  HostFacts facts = host_backend().host();
  facts.total_memory = kDryMemory;
  return facts;
}

}  // namespace

DryBackend::DryBackend() : host_(facts_without_memory()) {}

void* DryBackend::allocate_segment(size_t nbytes) noexcept {
  // Readable and writable: a kernel of somebody's own that does use it finds zeros instead of the end of the process.
  const size_t mapped_size = nbytes + kSegmentAlignment;
  void* mapped = mmap(nullptr, mapped_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    return nullptr;
  }
  auto* const start = static_cast<char*>(mapped);
  const size_t before = -reinterpret_cast<uintptr_t>(start) & (kSegmentAlignment - 1);
  if (before != 0) {
    munmap(start, before);
  }
  if (const size_t after = mapped_size - before - nbytes; after != 0) {
    munmap(start + before + nbytes, after);
  }
  return start + before;
}

void DryBackend::free_segment(void* segment, size_t nbytes) noexcept { munmap(segment, nbytes); }

}  // namespace torchdevice
