// allocator/ThreadBlocks.cpp: small blocks that a thread keeps for itself while threads contend for a device's.

#include "allocator/ThreadBlocks.h"

#include <memory>
#include <utility>

#include "allocator/DevicePool.h"
#include "runtime/Device.h"

namespace torchdevice {
namespace {

// Without a destructor: what other thread-locals release after ThreadEnd still finds it, empty.
constinit thread_local std::array<ThreadBlocks*, kMaxDevices> blocks_of_thread{};
constinit thread_local bool thread_ends = false;

struct ThreadEnd {
  constexpr ThreadEnd() noexcept = default;
  ThreadEnd(const ThreadEnd&) = delete;
  ThreadEnd& operator=(const ThreadEnd&) = delete;
  ~ThreadEnd() {
    thread_ends = true;
    for (ThreadBlocks*& blocks : blocks_of_thread) {
      if (const std::unique_ptr<ThreadBlocks> ended(std::exchange(blocks, nullptr)); ended != nullptr) {
        ended->pool().dismiss(*ended);
      }
    }
  }
};
thread_local ThreadEnd thread_end;

}  // namespace

ThreadBlocks* ThreadBlocks::of(c10::DeviceIndex device) noexcept {
  return blocks_of_thread[static_cast<uint8_t>(device)];
}

ThreadBlocks* ThreadBlocks::make(DevicePool& pool) {
  ThreadBlocks*& blocks = blocks_of_thread[static_cast<uint8_t>(pool.device())];
  if (blocks == nullptr && !thread_ends) {
    static_cast<void>(&thread_end);  // to be destroyed, it has to be touched
    blocks = new ThreadBlocks(pool);
  }
  return blocks;
}

void* ThreadBlocks::take(size_t size, size_t nbytes, c10::StreamId stream) noexcept {
  const Guard guard(lock_);
  for (size_t i = account_.count; i-- > 0;) {
    if (kept_[i].size != size || kept_[i].stream != stream) {
      continue;
    }
    Block& block = *kept_[i].block;
    kept_[i] = kept_[--account_.count];
    account_.rounds += 1;
    account_.bytes += static_cast<int64_t>(size);
    account_.requested_before += static_cast<int64_t>(block.requested);
    account_.requested_after += static_cast<int64_t>(nbytes);
    block.requested = nbytes;
    block.kept = false;
    return block.start;
  }
  return nullptr;
}

bool ThreadBlocks::keep(Block& block, c10::StreamId stream) noexcept {
  const Guard guard(lock_);
  if (!is_open_ || account_.count == kCount) {
    return false;
  }
  block.kept = true;
  kept_[account_.count++] = {&block, block.size, stream};
  return true;
}

void ThreadBlocks::open() noexcept {
  const Guard guard(lock_);
  is_open_ = true;
}

ThreadBlocks::Account ThreadBlocks::close() noexcept {
  const Guard guard(lock_);
  is_open_ = false;
  for (size_t i = 0; i < account_.count; ++i) {
    account_.blocks[i] = kept_[i].block;
    kept_[i].block->kept = false;
  }
  return std::exchange(account_, {});
}

}  // namespace torchdevice
