// allocator/ThreadBlocks.h: small blocks that a thread keeps for itself while threads contend for a device's.

#pragma once

#include <c10/core/Stream.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "allocator/AdaptiveLock.h"
#include "allocator/Block.h"

namespace torchdevice {

// Note [Contention]
// One lock guards the blocks of a device. Threads that often wait for this lock stop taking it: a small block that one
// of them releases stays with that thread for its next request of that size. The device's pool counts such a block as
// allocated all the while. Whoever reads statistics, finds no free block, or changes how memory is allocated takes all
// of them back first. That ends it, until threads often wait again.
// So figures are CUDA's, but for one: the peaks of threads that ran at the same time include what the threads kept. On
// a GPU these peaks depend on who came first.

/// What one thread keeps of one device's blocks.
class alignas(64) ThreadBlocks {
 public:
  static constexpr size_t kLargest = 65536;  ///< bytes of a block; with larger ones there is more work than contention
  static constexpr size_t kCount = 16;

  /// What taking all blocks back gives: the blocks, and what their pool has not seen of them.
  struct Account {
    std::array<Block*, kCount> blocks;
    size_t count = 0;
    int64_t rounds = 0;            ///< releases that were followed by an allocation of the same block
    int64_t bytes = 0;             ///< sum of the sizes of these
    int64_t requested_before = 0;  ///< ... of the bytes asked for before the release
    int64_t requested_after = 0;   ///< ... and with the next allocation
  };

  explicit ThreadBlocks(DevicePool& pool) noexcept : pool_(pool) {}

  /// The calling thread's blocks of a device; nullptr if it has none yet.
  static ThreadBlocks* of(c10::DeviceIndex device) noexcept;
  /// The same, made where there are none; nullptr in a thread that is ending.
  static ThreadBlocks* make(DevicePool& pool);

  DevicePool& pool() const noexcept { return pool_; }

  /// A kept block of `size` bytes that belongs to `stream`, for a request of `nbytes`; nullptr if there is none.
  void* take(size_t size, size_t nbytes, c10::StreamId stream) noexcept;
  /// Keeps a block that belongs to `stream`; false if it does not: they are closed, or there are enough.
  bool keep(Block& block, c10::StreamId stream) noexcept;

  // The rest is for the pool, under its lock.
  void open() noexcept;
  /// Nothing is kept from here on.
  Account close() noexcept;

  /// fork: the child finds them as they are between two calls.
  void before_fork() noexcept { lock_.lock(); }
  void after_fork() noexcept { lock_.unlock(); }

 private:
  using Guard = std::lock_guard<AdaptiveLock>;

  struct Kept {
    Block* block;
    size_t size;
    c10::StreamId stream;
  };

  DevicePool& pool_;
  AdaptiveLock lock_;  ///< rarely contended: only whoever closes them is another thread
  bool is_open_ = false;
  std::array<Kept, kCount> kept_;
  Account account_;  ///< `blocks` is filled in by close; `count` is that of `kept_`
};

}  // namespace torchdevice
