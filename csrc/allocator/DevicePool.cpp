// allocator/DevicePool.cpp: allocation and release of blocks, the paths that every operator takes.

#include "allocator/DevicePool.h"

#include <ATen/record_function.h>

#include <algorithm>

#include "allocator/AllocatorSettings.h"
#include "allocator/ForeignSegments.h"
#include "runtime/ThreadState.h"

namespace torchdevice {

using c10::CachingDeviceAllocator::TraceEntry;

namespace {

constexpr size_t kOneExabyte = kMiB * kMiB * kMiB;
constexpr uint32_t kManyWaits = 64;  ///< for the lock, from which on threads contend for the device's blocks

template <PoolKind kind>
auto& free_blocks(StreamBlocks& blocks) noexcept {
  if constexpr (kind == PoolKind::kSmall) {
    return blocks.small;
  } else {
    return blocks.large;
  }
}

bool is_free(const Block* block) noexcept { return block != nullptr && block->state == BlockState::kFree; }

DevicePool::Neighbours free_neighbours(const Block& block) noexcept {
  return {is_free(block.previous), is_free(block.next)};
}

size_t max_split_size() noexcept { return allocator_settings.max_split_size.load(std::memory_order_relaxed); }

template <PoolKind kind>
bool worth_splitting(size_t size, size_t rest) noexcept {
  return kind == PoolKind::kSmall ? rest != 0 : rest > kSmallSize && size < max_split_size();
}

/// Cut `block` after `size` bytes; the rest becomes a block of its own.
template <PoolKind kind>
Block& split(Block& block, size_t size) noexcept {
  Block& rest = kind == PoolKind::kSmall ? *(&block + (size >> Segment::kSmallShift))
                                         : find_segment(block.start)->block_at(block.start + size);
  rest.start = block.start + size;
  rest.size = block.size - size;
  rest.previous = &block;
  rest.next = block.next;
  rest.state = BlockState::kFree;
  rest.used_elsewhere = false;
  if (rest.next != nullptr) {
    rest.next->previous = &rest;
  }
  block.next = &rest;
  block.size = size;
  return rest;
}

/// `right` follows `left` and becomes part of it.
void absorb(Block& left, const Block& right) noexcept {
  left.size += right.size;
  left.next = right.next;
  if (left.next != nullptr) {
    left.next->previous = &left;
  }
}

// Note [Profilers]
// c10::reportMemoryUsageToProfiler looks for a profiler in a thread-local of another library, which costs as much as
// the allocation. A profiler that records memory records operators too, in a list of the thread's that can be looked at
// for the price of two loads.
[[gnu::noinline]] const at::RecordFunctionTLS& find_profilers() noexcept {
  thread_state.profilers = &at::get_record_function_tls_();
  return *thread_state.profilers;
}

}  // namespace

void raise_invalid_pointer(const void* memory) { TORCH_CHECK(false, "invalid device pointer: ", memory); }

bool DevicePool::is_profiled() noexcept {
  const at::RecordFunctionTLS* profilers = thread_state.profilers;
  return !(profilers != nullptr ? *profilers : find_profilers()).sorted_tls_callbacks_.empty();
}

bool DevicePool::is_watched() const noexcept {
  return static_cast<bool>(static_cast<unsigned>(is_profiled()) |
                           static_cast<unsigned>(watched_.load(std::memory_order_relaxed)));
}

void* DevicePool::allocate(size_t nbytes, c10::StreamId stream) {
  if (is_watched()) [[unlikely]] {
    return allocate_watched(nbytes, stream);
  }
  const Guard guard(lock_);
  if (nbytes == repeat_.nbytes && stream == repeat_.stream) [[likely]] {
    repeat_.nbytes = 0;
    return repeat_.block->start;
  }
  end_repetition();
  return allocate_block(stream_blocks(stream), nbytes).start;
}

Block& DevicePool::allocate_block(StreamBlocks& blocks, size_t nbytes) {
  if (!deferred_.empty()) [[unlikely]] {
    complete_deferred();
  }
  if (lock_.waits() > kManyWaits) [[unlikely]] {
    begin_contention();
  }
  if (nbytes > kSmallSize) [[unlikely]] {
    return allocate_large(blocks, nbytes);
  }
  const size_t size = round_size(nbytes);
  Block* block = take_parked(blocks, size);
  if (block == nullptr) {
    block = &cut<PoolKind::kSmall>(blocks, size);
  }
  count_allocation<PoolKind::kSmall>(*block, nbytes);
  return *block;
}

Block& DevicePool::allocate_large(StreamBlocks& blocks, size_t nbytes) {
  TORCH_CHECK_WITH(OutOfMemoryError, nbytes < kOneExabyte,
                   "CUDA out of memory. Tried to allocate more than 1EB memory.");
  Block& block = cut<PoolKind::kLarge>(blocks, round_size(nbytes));
  count_allocation<PoolKind::kLarge>(block, nbytes);
  if (block.size >= max_split_size()) {
    stats_.oversize_allocations.increase(1);
  }
  return block;
}

void DevicePool::free(Segment& segment, void* memory) {
  if (is_watched()) [[unlikely]] {
    free_watched(segment, memory);
    return;
  }
  const Guard guard(lock_);
  if (memory == repeat_.memory && repeat_.nbytes == 0) [[likely]] {
    repeat_.nbytes = repeat_.block->requested;
    repeat_.count += 1;
    return;
  }
  end_repetition();
  free_block(segment, memory);
}

size_t DevicePool::free_block(Segment& segment, const void* memory) {
  if (segment.blocks == nullptr) [[unlikely]] {
    free_uncached(segment, memory);
    return 0;
  }
  Block& block = allocated_block(segment, memory);
  const size_t size = block.size;
  if (segment.small) [[likely]] {
    unpark(*segment.owner);
    const Neighbours free = free_neighbours(block);
    if (count_release<PoolKind::kSmall>(block, free) && !park(*segment.owner, block, free)) {
      merge<PoolKind::kSmall>(*segment.owner, block);
    }
  } else {
    free_large(*segment.owner, block);
  }
  return size;
}

void DevicePool::free_large(StreamBlocks& blocks, Block& block) {
  if (block.size >= max_split_size()) {
    stats_.oversize_allocations.decrease(1);
  }
  if (count_release<PoolKind::kLarge>(block, free_neighbours(block))) {
    merge<PoolKind::kLarge>(blocks, block);
  }
}

Block* DevicePool::take_parked(StreamBlocks& blocks, size_t size) noexcept {
  Block* block = blocks.parked;
  if (block == nullptr || block->size != size) {
    return nullptr;
  }
  blocks.parked = nullptr;
  return block;
}

bool DevicePool::park(StreamBlocks& blocks, Block& block, Neighbours free) noexcept {
  if (free.left || (free.right ? block.epoch != blocks.epoch : blocks.small.has(block.size))) {
    return false;
  }
  blocks.parked = &block;
  if (&block == last_parked_ && deferred_.empty() && blocks.pool == nullptr && !is_contended()) {
    repeat_ = {&block, block.start, block.requested, &blocks, blocks.stream, 0};
  }
  last_parked_ = &block;
  return true;
}

void DevicePool::finish_repetition() noexcept {
  Block& block = *repeat_.block;
  stats_.allocation.rise_and_fall(PoolKind::kSmall, repeat_.count);
  stats_.allocated_bytes.rise_and_fall(PoolKind::kSmall, repeat_.count * static_cast<int64_t>(block.size));
  stats_.requested_bytes.rise_and_fall(PoolKind::kSmall, repeat_.count * static_cast<int64_t>(block.requested));
  const Block* rest = is_free(block.next) ? block.next : nullptr;
  if (rest != nullptr && block.previous == nullptr && rest->next == nullptr) {
    stats_.inactive_split_bytes.rise_and_fall(PoolKind::kSmall, repeat_.count * static_cast<int64_t>(rest->size));
  } else {
    stats_.inactive_split_bytes.rise_and_fall(PoolKind::kSmall, repeat_.count * static_cast<int64_t>(block.size));
  }
  if (rest == nullptr || (block.previous == nullptr && rest->next == nullptr)) {
    stats_.inactive_split.rise_and_fall(PoolKind::kSmall, repeat_.count);
  }
  const bool taken = repeat_.nbytes == 0;
  StreamBlocks* owner = repeat_.owner;
  repeat_ = {};
  if (taken) {
    owner->parked = nullptr;
    count_allocation<PoolKind::kSmall>(block, block.requested);
  }
}

void DevicePool::unpark(StreamBlocks& blocks) noexcept {
  if (Block* block = std::exchange(blocks.parked, nullptr)) {
    merge<PoolKind::kSmall>(blocks, *block);
  }
}

template <PoolKind kind>
Block& DevicePool::cut(StreamBlocks& blocks, size_t size) {
  if constexpr (kind == PoolKind::kSmall) {
    unpark(blocks);
  } else if (blocks.pool == nullptr && collects_garbage()) [[unlikely]] {
    ++large_searches_;
  }
  StreamBlocks* owner = &blocks;
  Block* block = free_blocks<kind>(blocks).take(size);
  if (block == nullptr && is_contended()) [[unlikely]] {
    end_contention();
    return cut<kind>(blocks, size);
  }
  if (block == nullptr) [[unlikely]] {
    block = &new_segment(size, blocks);
    owner = find_segment(block->start)->owner;
    if constexpr (kind == PoolKind::kSmall) {
      unpark(*owner);
    }
  }
  if (worth_splitting<kind>(size, block->size - size) && owner->splits) {
    Block& rest = split<kind>(*block, size);
    if constexpr (kind == PoolKind::kLarge) {
      rest.epoch = large_searches_;
    }
    free_blocks<kind>(*owner).insert(rest);
  }
  if constexpr (kind == PoolKind::kSmall) {
    block->epoch = ++owner->epoch;
  }
  return *block;
}

template <PoolKind kind>
void DevicePool::merge(StreamBlocks& blocks, Block& block) {
  Block* merged = &block;
  if (Block* previous = block.previous; is_free(previous)) {
    free_blocks<kind>(blocks).remove(*previous);
    absorb(*previous, block);
    merged = previous;
  }
  if (Block* next = merged->next; is_free(next)) {
    free_blocks<kind>(blocks).remove(*next);
    absorb(*merged, *next);
  }
  if constexpr (kind == PoolKind::kSmall) {
    ++blocks.epoch;
  } else {
    merged->epoch = large_searches_;
  }
  free_blocks<kind>(blocks).insert(*merged);
}

template <PoolKind kind>
void DevicePool::count_allocation(Block& block, size_t nbytes) noexcept {
  const auto size = static_cast<int64_t>(block.size);
  if (const Block* rest = block.next; is_free(rest)) {
    if (block.previous != nullptr || rest->next != nullptr) {
      stats_.inactive_split_bytes.fall(kind, size);
    } else {
      stats_.inactive_split_bytes.rise(kind, static_cast<int64_t>(rest->size));
      stats_.inactive_split.rise(kind, 1);
    }
  } else if (block.is_split()) {
    stats_.inactive_split_bytes.fall(kind, size);
    stats_.inactive_split.fall(kind, 1);
  }
  stats_.allocation.rise(kind, 1);
  stats_.allocated_bytes.rise(kind, size);
  stats_.requested_bytes.rise(kind, static_cast<int64_t>(nbytes));
  block.requested = nbytes;
  block.state = BlockState::kAllocated;
}

template <PoolKind kind>
bool DevicePool::count_release(Block& block, Neighbours free) {
  const auto size = static_cast<int64_t>(block.size);
  stats_.allocation.fall(kind, 1);
  stats_.allocated_bytes.fall(kind, size);
  if (block.used_elsewhere) [[unlikely]] {
    defer<kind>(block);
    return false;
  }
  block.state = BlockState::kFree;
  count_inactive<kind>(block, free);
  return true;
}

template <PoolKind kind>
void DevicePool::count_inactive(const Block& block, Neighbours free) noexcept {
  stats_.requested_bytes.fall(kind, static_cast<int64_t>(block.requested));
  const Block* left = free.left ? block.previous->previous : block.previous;
  const Block* right = free.right ? block.next->next : block.next;
  const int64_t merges = int64_t{free.left} + int64_t{free.right};
  if (left != nullptr || right != nullptr) {
    stats_.inactive_split_bytes.rise(kind, static_cast<int64_t>(block.size));
    stats_.inactive_split.change(kind, 1 - merges);
  } else if (merges != 0) {
    // A whole segment is free again.
    const size_t merged = (free.left ? block.previous->size : 0) + (free.right ? block.next->size : 0);
    stats_.inactive_split_bytes.fall(kind, static_cast<int64_t>(merged));
    stats_.inactive_split.fall(kind, merges);
  }
}

template <PoolKind kind>
void DevicePool::defer(Block& block) {
  block.state = BlockState::kDeferred;
  stats_.active.defer(kind, 1);
  stats_.active_bytes.defer(kind, static_cast<int64_t>(block.size));
  deferred_.push_back(&block);
}

void DevicePool::complete_deferred(const PrivatePool* pool) {
  const auto others = std::ranges::stable_partition(
      deferred_, [pool](const Block* block) { return find_segment(block->start)->owner->pool == pool; });
  const std::vector<Block*> kept(others.begin(), others.end());
  deferred_.erase(others.begin(), others.end());
  complete_deferred();
  deferred_ = kept;
}

void DevicePool::complete_deferred() {
  // What was submitted to other streams is in the native backend's one queue, ahead of whatever uses the block next.
  const auto complete = [this]<PoolKind kind>(StreamBlocks& owner, Block& block) {
    if constexpr (kind == PoolKind::kSmall) {
      unpark(owner);
    }
    stats_.active.complete(kind, 1);
    stats_.active_bytes.complete(kind, static_cast<int64_t>(block.size));
    record_release(TraceEntry::FREE_COMPLETED, *find_segment(block.start), block.start, block.requested);
    block.state = BlockState::kFree;
    block.used_elsewhere = false;
    count_inactive<kind>(block, free_neighbours(block));
    merge<kind>(owner, block);
  };
  for (Block* block : deferred_) {
    const Segment& segment = *find_segment(block->start);
    if (segment.small) {
      complete.operator()<PoolKind::kSmall>(*segment.owner, *block);
    } else {
      complete.operator()<PoolKind::kLarge>(*segment.owner, *block);
    }
  }
  deferred_.clear();
}

void DevicePool::record_stream(Segment& segment, const void* memory, c10::StreamId stream) {
  const Guard guard(lock_);
  end_repetition();
  if (segment.blocks == nullptr || stream == segment.owner->stream) {
    return;
  }
  allocated_block(segment, memory).used_elsewhere = true;
}

}  // namespace torchdevice
