// allocator/DevicePoolSegments.cpp: DevicePool's segments: made, given back, and the memory that goes around the cache.

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/ScopeExit.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "allocator/AllocatorSettings.h"
#include "allocator/DevicePool.h"
#include "allocator/ForeignSegments.h"
#include "native/Backend.h"
#include "runtime/Device.h"
#include "runtime/Error.h"

namespace torchdevice {
namespace {

using c10::CachingDeviceAllocator::TraceEntry;

size_t segment_size_for(size_t size) noexcept {
  if (size <= kSmallSize) {
    return kSmallSegment;
  }
  const size_t large_segment = allocator_settings.large_segment;
  if (size < kMinLargeAlloc && size <= large_segment) {
    return large_segment;
  }
  return (size + kRoundLarge - 1) / kRoundLarge * kRoundLarge;
}

/// A table of which only the pages that are used cost memory.
Block* make_block_table(size_t entries) noexcept {
  void* table = mmap(nullptr, entries * sizeof(Block), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return table != MAP_FAILED ? static_cast<Block*>(table) : nullptr;
}

void discard_block_table(Block* table, size_t entries) noexcept { munmap(table, entries * sizeof(Block)); }

/// Keeps a private pool while the lock around it is let go.
class PoolHold {
 public:
  explicit PoolHold(PrivatePool* pool) noexcept : pool_(pool) {
    if (pool_ != nullptr) {
      pool_->segments += 1;
    }
  }
  ~PoolHold() {
    if (pool_ != nullptr) {
      pool_->segments -= 1;
    }
  }
  PoolHold(const PoolHold&) = delete;
  PoolHold& operator=(const PoolHold&) = delete;

 private:
  PrivatePool* pool_;
};

}  // namespace

StreamBlocks& DevicePool::find_stream_blocks(c10::StreamId stream) {
  last_blocks_ = &find_stream_blocks(nullptr, stream);
  last_stream_ = stream;
  return *last_blocks_;
}

StreamBlocks& DevicePool::find_stream_blocks(PrivatePool* pool, c10::StreamId stream) {
  const auto known = std::ranges::find_if(
      streams_, [pool, stream](const auto& blocks) { return blocks->pool == pool && blocks->stream == stream; });
  if (known != streams_.end()) {
    return **known;
  }
  follow_allocator_settings();
  return *streams_.emplace_back(std::make_unique<StreamBlocks>(pool, stream, pool == nullptr || pool->splits));
}

Block& DevicePool::new_segment(size_t size, StreamBlocks& owner) {
  const bool small = size <= kSmallSize;
  const size_t segment_size = segment_size_for(size);
  const PoolHold hold(owner.pool);
  if (collects_garbage()) [[unlikely]] {
    collect_garbage();
  }
  if (Block* block = try_new_segment(segment_size, small, owner)) {
    return *block;
  }
  if (owner.pool == nullptr) {
    if (Block* block = take_from_private_pools(size, owner.stream)) {
      return *block;
    }
  }
  if (release_oversize(owner, size)) {
    if (Block* block = try_new_segment(segment_size, small, owner)) {
      return *block;
    }
  }
  release_cached_segments({0, 0});
  stats_.alloc_retries += 1;
  if (Block* block = try_new_segment(segment_size, small, owner)) {
    return *block;
  }
  raise_out_of_memory(size, segment_size, owner);
}

Block* DevicePool::try_new_segment(size_t segment_size, bool small, StreamBlocks& owner) {
  const uint32_t shift = small ? Segment::kSmallShift : Segment::kLargeShift;
  Block* blocks = make_block_table(segment_size >> shift);
  if (blocks == nullptr) {
    return nullptr;
  }
  auto discard = c10::make_scope_exit([=] { discard_block_table(blocks, segment_size >> shift); });
  if (segments_.size() == segments_.capacity()) {
    segments_.reserve(2 * segments_.size() + 1);
  }
  Segment* segment = owner.pool != nullptr && owner.pool->source != nullptr
                         ? map_segment_from(*owner.pool->source, segment_size, owner.stream)
                         : map_segment(segment_size);
  if (segment == nullptr) {
    return nullptr;
  }
  discard.release();
  segment->owner = &owner;
  segment->blocks = blocks;
  segment->shift = shift;
  segment->small = small;
  segment->order = next_order_++;
  Block& block = blocks[0];
  block.start = segment->base;
  block.size = segment_size;
  segments_.push_back(segment);
  if (owner.pool != nullptr) {
    segment->pool_id = owner.pool->id;
    owner.pool->segments += 1;
    stats_.private_reserved_bytes[owner.pool->id].rise(small ? PoolKind::kSmall : PoolKind::kLarge,
                                                       static_cast<int64_t>(segment_size));
  }

  const PoolKind kind = small ? PoolKind::kSmall : PoolKind::kLarge;
  stats_.segment.rise(kind, 1);
  stats_.reserved_bytes.rise(kind, static_cast<int64_t>(segment_size));
  stats_.segments_made += 1;
  if (segment_size >= allocator_settings.max_split_size) {
    stats_.oversize_segments.increase(1);
  }
  record_segment(TraceEntry::SEGMENT_ALLOC, *segment);
  return &block;
}

Segment& DevicePool::new_header() {
  if (unused_headers_.empty()) {
    unused_headers_.reserve(headers_ + 1);
    unused_headers_.push_back(new Segment{});
    ++headers_;
  }
  Segment& segment = *unused_headers_.back();
  unused_headers_.pop_back();
  return segment;
}

void DevicePool::fill_header(Segment& segment, void* base, size_t segment_size) noexcept {
  segment.base = static_cast<char*>(base);
  segment.size = segment_size;
  segment.pool = this;
  segment.blocks = nullptr;
  segment.source = nullptr;
  segment.source_stream = nullptr;
  segment.pool_id = {0, 0};
}

Segment* DevicePool::map_segment(size_t segment_size) {
  if (!fits(segment_size)) {
    return nullptr;
  }
  Segment& segment = new_header();
  void* base = native_backend().allocate_segment(segment_size);
  if (base == nullptr) {
    put_back_header(segment);
    return nullptr;
  }
  fill_header(segment, base, segment_size);
  if (!page_map.set(segment.base, segment_size, &segment)) {
    unmap_segment(segment);
    put_back_header(segment);
    return nullptr;
  }
  note_context(device_);
  return &segment;
}

void DevicePool::unmap_segment(Segment& segment) {
  // First forgotten, then freed: the host may hand the same addresses to somebody else at once.
  page_map.set(segment.base, segment.size, nullptr);
  native_backend().free_segment(segment.base, segment.size);
}

void* DevicePool::allocate_uncached(size_t nbytes) {
  const Guard guard(lock_);
  const size_t size = (nbytes + kSegmentAlignment - 1) & ~(kSegmentAlignment - 1);
  const Segment* segment = size >= nbytes ? map_segment(size) : nullptr;
  if (segment == nullptr) {
    throw_cuda_error(CudaError::kMemoryAllocation, "allocate_uncached");
  }
  uncached_bytes_ += size;
  return segment->base;
}

void DevicePool::free_uncached(Segment& segment, const void* memory) {
  TORCH_CHECK(segment.base == memory, "invalid device pointer: ", memory);
  uncached_bytes_ -= segment.size;
  if (segment.source != nullptr) {
    free_custom(segment);
    return;
  }
  unmap_segment(segment);
  put_back_header(segment);
}

void DevicePool::empty_cache(c10::MempoolId_t pool) {
  const HistoryScope scope(history_.gather(MemoryHistory::Level::ALL));
  const Guard guard(lock_);
  settle();
  release_cached_segments(pool);
}

void DevicePool::release_cached_segments(c10::MempoolId_t pool) {
  {
    // A backend's completion handlers may release tensors of this device.
    const Unlocked unlocked(lock_);
    native_backend().synchronize();
  }
  settle();
  const bool every_pool = pool == c10::MempoolId_t{0, 0};
  if (every_pool) {
    stats_.stream_syncs += 1;
    complete_deferred();
    release_free_segments(nullptr);
  }
  for (const auto& unused : private_pools_) {
    if (unused->use_count != 0 || !(every_pool || unused->id == pool)) {
      continue;
    }
    if (!every_pool) {
      stats_.stream_syncs += 1;
      complete_deferred(unused.get());
    }
    release_free_segments(unused.get());
  }
  release_custom_segments();
  forget_unused_pools();
}

void DevicePool::release_free_segments(const PrivatePool* pool) {
  for (const auto& blocks : streams_) {
    if (blocks->pool != pool) {
      continue;
    }
    unpark(*blocks);
    while (const Block* block = blocks->large.take_segment()) {
      release_segment(*block);
    }
    while (const Block* block = blocks->small.take_segment()) {
      release_segment(*block);
    }
  }
}

void DevicePool::release_segment(const Block& block) {
  Segment& segment = *find_segment(block.start);
  const PoolKind kind = segment.small ? PoolKind::kSmall : PoolKind::kLarge;
  record_segment(TraceEntry::SEGMENT_FREE, segment);
  stats_.segments_released += 1;
  stats_.segment.fall(kind, 1);
  stats_.reserved_bytes.fall(kind, static_cast<int64_t>(segment.size));
  if (PrivatePool* pool = segment.owner->pool; pool != nullptr) {
    pool->segments -= 1;
    stats_.private_reserved_bytes[pool->id].fall(kind, static_cast<int64_t>(segment.size));
  }
  if (segment.size >= allocator_settings.max_split_size) {
    stats_.oversize_segments.decrease(1);
  }
  discard_block_table(segment.blocks, segment.size >> segment.shift);
  std::erase(segments_, &segment);
  if (segment.source != nullptr) {
    released_custom_.push_back(&segment);
    return;
  }
  unmap_segment(segment);
  put_back_header(segment);
}

}  // namespace torchdevice
