// allocator/Block.h: segments of native memory and the blocks they are split into.

#pragma once

#include <c10/core/Allocator.h>

#include <bit>
#include <cstddef>
#include <cstdint>

#include "native/Backend.h"

namespace torchdevice {

// The words of the allocator:
// segment           memory that came from the native backend, or from a program's own allocator, in one piece
// block             a stretch of a segment, handed out or free; the blocks of a segment follow one another without gaps
// neighbours        the blocks before and after a block in its segment
// small, large      requests of at most 1 MiB, and those above; each kind has segments of its own, called its pool
// stream's blocks   the free blocks of one stream (StreamBlocks); a stream is never given those of another
// parked block      the small block that a stream released last, left unmerged: see Note [The parked block]
// deferred block    released, but counted as active until other streams that used it have been looked at
// kept block        released, but kept by a thread: see Note [Contention]
// private pool      blocks set aside for a graph or a torch.cuda.MemPool (PrivatePool); all others are the default
// pool's device's pool     all of that for one device (DevicePool) around the cache  memory that is never split nor
// kept: its segment has no blocks

class DevicePool;
class StreamBlocks;
struct CustomAllocator;

inline constexpr size_t kMiB = 1048576;

/// The figures of CUDA's caching allocator (c10/cuda/CUDACachingAllocator.cpp), which memory statistics show.
inline constexpr size_t kMinBlockSize = 512;         ///< every size is rounded up to a multiple of this
inline constexpr size_t kSmallSize = kMiB;           ///< largest request served from the small pool
inline constexpr size_t kSmallSegment = 2 * kMiB;    ///< segment of the small pool
inline constexpr size_t kLargeSegment = 20 * kMiB;   ///< segment for requests below kMinLargeAlloc
inline constexpr size_t kMinLargeAlloc = 10 * kMiB;  ///< from here on a segment is made to measure
inline constexpr size_t kRoundLarge = 2 * kMiB;      ///< ... and rounded up to a multiple of this

static_assert(kSmallSegment % kSegmentAlignment == 0 && kLargeSegment % kSegmentAlignment == 0 &&
              kRoundLarge % kSegmentAlignment == 0);

enum class BlockState : uint8_t {
  kFree,
  kAllocated,
  kDeferred,  ///< freed, but counted active until the next allocation has looked at the other streams
};

/// A stretch of a segment: handed out, or free. A block and its neighbour are never both free.
struct alignas(64) Block {
  char* start;
  size_t size;      ///< bytes, a multiple of kMinBlockSize
  Block* previous;  ///< neighbours in the segment
  Block* next;
  union {
    size_t requested;  ///< bytes asked for, while handed out
    Block* child;      ///< links of a heap of free blocks, while free
  };
  Block* sibling;
  Block* back;     ///< the elder sibling, or the parent of an eldest child
  uint32_t epoch;  ///< small: StreamBlocks::epoch when it was cut; large and free: large searches until then
  BlockState state;
  bool used_elsewhere;  ///< record_stream told that a stream other than its own used it
  bool kept;            ///< released, but kept by a thread: see Note [Contention]

  bool is_split() const noexcept { return previous != nullptr || next != nullptr; }
};

/// Native memory from the backend. Never deleted, only reused, since other threads may be looking up an address.
struct Segment {
  char* base;
  size_t size;
  DevicePool* pool;
  StreamBlocks* owner;  ///< the stream it was made for
  /// Null for memory that goes around the cache. One entry for each place where a block can start: every 512 bytes in a
  /// small segment. The blocks of a large segment are longer than 1 MiB, so there it is every 1 MiB.
  Block* blocks;
  uint64_t order;                 ///< segments made earlier come first, as lower addresses do on a GPU
  const CustomAllocator* source;  ///< who gave the memory; nullptr for the native backend
  void* source_stream;            ///< what it was told as cudaStream_t
  c10::MempoolId_t pool_id;       ///< of the private pool it belongs to; {0, 0} for the default pool
  uint32_t shift;
  bool small;

  static constexpr uint32_t kSmallShift = std::countr_zero(kMinBlockSize);
  static constexpr uint32_t kLargeShift = std::countr_zero(kSmallSize);

  Block& block_at(const void* address) const noexcept {
    return blocks[static_cast<size_t>(static_cast<const char*>(address) - base) >> shift];
  }
};

}  // namespace torchdevice
