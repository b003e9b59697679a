// allocator/HostMemory.cpp: memory for what a GPU's kernel keeps in registers.

#include "allocator/HostMemory.h"

#include <array>
#include <atomic>
#include <new>
#include <utility>

namespace torchdevice {
namespace {

#if defined(__linux__)
[[gnu::tls_model("initial-exec")]]
#endif
constinit thread_local bool host_memory_is_taken = false;

std::atomic<c10::DeleterFnPtr> free_memory{nullptr};

// Note [Sizes of host memory]
// What is kept has one of these sizes, four to each doubling, and a deleter that knows which. A deleter is given the
// address alone, and nobody can be asked what lies there: torch's allocator is malloc in some builds, mimalloc in
// others. Smaller blocks malloc itself keeps.
constexpr size_t kSmallest = size_t{64} << 10U;
constexpr size_t kSizesPerDoubling = 4;
constexpr size_t size_numbered(size_t number) {
  return (kSizesPerDoubling + number % kSizesPerDoubling) * (kSmallest / kSizesPerDoubling)
         << number / kSizesPerDoubling;
}
constexpr size_t kSizes = [] {
  size_t number = 0;
  while (size_numbered(number) < kKeptHostMemory) {
    ++number;
  }
  return number + 1;
}();

/// What a thread has given back: a list in the blocks themselves.
class KeptBlocks {
 public:
  struct Block {
    Block* next;
    size_t number;
  };

  constexpr KeptBlocks() = default;
  KeptBlocks(const KeptBlocks&) = delete;
  KeptBlocks& operator=(const KeptBlocks&) = delete;
  ~KeptBlocks() {
    while (first_ != nullptr) {
      free_memory.load(std::memory_order_relaxed)(std::exchange(first_, first_->next));
    }
    room_ = 0;  // what comes back later in the thread's life is freed
  }

  /// The smallest block of that size or larger, unless it is twice as large or more; null if there is none.
  Block* take(size_t number) noexcept {
    Block** best = nullptr;
    for (Block** block = &first_; *block != nullptr; block = &(*block)->next) {
      const size_t found = (*block)->number;
      if (found >= number && found < number + kSizesPerDoubling && (best == nullptr || found < (*best)->number)) {
        best = block;
      }
    }
    if (best == nullptr) {
      return nullptr;
    }
    room_ += size_numbered((*best)->number);
    return std::exchange(*best, (*best)->next);
  }

  bool keep(void* memory, size_t number) noexcept {
    if (size_numbered(number) > room_) {
      return false;
    }
    first_ = new (memory) Block{first_, number};
    room_ -= size_numbered(number);
    return true;
  }

 private:
  Block* first_ = nullptr;
  size_t room_ = kKeptHostMemory;
};

constinit thread_local KeptBlocks kept_blocks;

template <size_t number>
void give_back(void* memory) {
  if (!kept_blocks.keep(memory, number)) {
    free_memory.load(std::memory_order_relaxed)(memory);
  }
}

constexpr auto kDeleters = []<size_t... number>(std::index_sequence<number...>) {
  return std::array<c10::DeleterFnPtr, kSizes>{&give_back<number>...};
}(std::make_index_sequence<kSizes>());

}  // namespace

HostMemory::HostMemory() noexcept : before_(std::exchange(host_memory_is_taken, true)) {}
HostMemory::~HostMemory() { host_memory_is_taken = before_; }

bool takes_host_memory() noexcept { return host_memory_is_taken; }

c10::DataPtr allocate_host_memory(size_t nbytes, c10::Allocator& allocator) {
  free_memory.store(allocator.raw_deleter(), std::memory_order_relaxed);
  if (free_memory.load(std::memory_order_relaxed) == nullptr || nbytes < kSmallest || nbytes > kKeptHostMemory) {
    return allocator.allocate(nbytes);
  }
  size_t number = 0;
  while (size_numbered(number) < nbytes) {
    ++number;
  }
  KeptBlocks::Block* kept = kept_blocks.take(number);
  number = kept != nullptr ? kept->number : number;
  void* memory = kept != nullptr ? kept : allocator.allocate(size_numbered(number)).release_context();
  return {memory, memory, kDeleters[number], c10::Device(c10::DeviceType::CPU)};
}

}  // namespace torchdevice
