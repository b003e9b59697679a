// allocator/HostMemory.cpp: memory for what a GPU's kernel keeps in registers.

#include "allocator/HostMemory.h"

#if defined(__linux__)
#include <malloc.h>
#endif

#include <atomic>
#include <utility>
#include <vector>

namespace torchdevice {
namespace {

#if defined(__linux__)
[[gnu::tls_model("initial-exec")]]
#endif
constinit thread_local bool host_memory_is_taken = false;

std::atomic<c10::DeleterFnPtr> free_memory{nullptr};

/// 0 on macOS, where so nothing is kept: its malloc reuses large blocks by itself.
size_t size_of([[maybe_unused]] void* memory) {
#if defined(__linux__)
  return malloc_usable_size(memory);
#else
  return 0;
#endif
}

/// What a thread has given back.
class KeptBlocks {
 public:
  KeptBlocks() = default;
  KeptBlocks(const KeptBlocks&) = delete;
  KeptBlocks& operator=(const KeptBlocks&) = delete;
  ~KeptBlocks() {
    for (const Block& block : std::exchange(blocks_, {})) {
      free_memory.load(std::memory_order_relaxed)(block.memory);
    }
    room_ = 0;  // what comes back later in the thread's life is freed
  }

  /// The smallest block for `nbytes`, unless it is more than twice as large; null if there is none.
  void* take(size_t nbytes) noexcept {
    auto best = blocks_.end();
    for (auto block = blocks_.begin(); block != blocks_.end(); ++block) {
      if (block->size >= nbytes && block->size / 2 <= nbytes && (best == blocks_.end() || block->size < best->size)) {
        best = block;
      }
    }
    if (best == blocks_.end()) {
      return nullptr;
    }
    const Block taken = std::exchange(*best, blocks_.back());
    blocks_.pop_back();
    room_ += taken.size;
    return taken.memory;
  }

  bool keep(void* memory) {
    const size_t size = size_of(memory);
    if (size < kSmallest || size > room_) {
      return false;
    }
    blocks_.push_back({memory, size});
    room_ -= size;
    return true;
  }

 private:
  /// Smaller ones malloc itself keeps.
  static constexpr size_t kSmallest = size_t{64} << 10U;

  struct Block {
    void* memory;
    size_t size;
  };
  std::vector<Block> blocks_;
  size_t room_ = kKeptHostMemory;
};

thread_local KeptBlocks kept_blocks;

void give_back(void* memory) {
  if (!kept_blocks.keep(memory)) {
    free_memory.load(std::memory_order_relaxed)(memory);
  }
}

}  // namespace

HostMemory::HostMemory() noexcept : before_(std::exchange(host_memory_is_taken, true)) {}
HostMemory::~HostMemory() { host_memory_is_taken = before_; }

bool takes_host_memory() noexcept { return host_memory_is_taken; }

c10::DataPtr allocate_host_memory(size_t nbytes, c10::Allocator& allocator) {
  free_memory.store(allocator.raw_deleter(), std::memory_order_relaxed);
  if (free_memory.load(std::memory_order_relaxed) == nullptr || nbytes == 0) {
    return allocator.allocate(nbytes);
  }
  void* memory = kept_blocks.take(nbytes);
  if (memory == nullptr) {
    c10::DataPtr fresh = allocator.allocate(nbytes);
    memory = fresh.release_context();
  }
  return {memory, memory, &give_back, c10::Device(c10::DeviceType::CPU)};
}

}  // namespace torchdevice
