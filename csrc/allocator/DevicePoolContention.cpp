// allocator/DevicePoolContention.cpp: DevicePool's blocks while threads contend for them, see Note [Contention].

#include <algorithm>

#include "allocator/AllocatorSettings.h"
#include "allocator/DevicePool.h"
#include "allocator/ForeignSegments.h"

namespace torchdevice {

void* DevicePool::allocate_contended(size_t nbytes, c10::StreamId stream) {
  ThreadBlocks* own = ThreadBlocks::of(device_);
  if (own != nullptr && nbytes <= ThreadBlocks::kLargest) {
    if (void* memory = own->take(round_size(nbytes), nbytes, stream)) {
      return memory;
    }
  }
  const Guard guard(lock_);
  end_repetition();
  return allocate_block(stream_blocks(stream), nbytes).start;
}

void DevicePool::free_contended(Segment& segment, void* memory) {
  Block* block = segment.blocks != nullptr ? &allocated_block(segment, memory) : nullptr;
  if (block != nullptr && block->kept) {
    raise_invalid_pointer(memory);
  }
  const bool may_be_kept = block != nullptr && block->size <= ThreadBlocks::kLargest && !block->used_elsewhere &&
                           segment.owner->pool == nullptr;
  if (may_be_kept) {
    ThreadBlocks* own = ThreadBlocks::of(device_);
    if (own != nullptr && own->keep(*block, segment.owner->stream)) {
      return;
    }
  }
  const Guard guard(lock_);
  end_repetition();
  free_block(segment, memory);
  if (may_be_kept && is_contended()) {
    renew_kept_blocks();
  }
}

void DevicePool::begin_contention() noexcept {
  lock_.forget_waits();
  contended_.store(routes_.empty() && !history_.is_active(), std::memory_order_release);
  update_watched();
}

void DevicePool::end_contention() {
  contended_.store(false, std::memory_order_relaxed);
  update_watched();
  lock_.forget_waits();
  for (ThreadBlocks* thread : threads_) {
    take_back(*thread);
  }
}

void DevicePool::renew_kept_blocks() {
  ThreadBlocks* own = ThreadBlocks::of(device_);
  if (own == nullptr) {
    own = ThreadBlocks::make(*this);
    if (own == nullptr) {
      return;
    }
    threads_.push_back(own);
  }
  take_back(*own);
  own->open();
}

void DevicePool::take_back(ThreadBlocks& thread) {
  const ThreadBlocks::Account account = thread.close();
  stats_.allocation.rise_and_fall(PoolKind::kSmall, account.rounds);
  stats_.allocated_bytes.rise_and_fall(PoolKind::kSmall, account.bytes);
  stats_.requested_bytes.fall(PoolKind::kSmall, account.requested_before);
  stats_.requested_bytes.rise(PoolKind::kSmall, account.requested_after);
  // As if each had been released into a hole of its size.
  stats_.inactive_split.rise_and_fall(PoolKind::kSmall, account.rounds);
  stats_.inactive_split_bytes.rise_and_fall(PoolKind::kSmall, account.bytes);
  for (size_t i = 0; i < account.count; ++i) {
    const void* memory = account.blocks[i]->start;
    free_block(*find_segment(memory), memory);
  }
  end_repetition();  // the releases may have looked like one
}

void DevicePool::dismiss(ThreadBlocks& thread) {
  const Guard guard(lock_);
  end_repetition();
  take_back(thread);
  std::erase(threads_, &thread);
}

void DevicePool::before_fork() noexcept {
  lock_.lock();
  for (ThreadBlocks* thread : threads_) {
    thread->before_fork();
  }
}

void DevicePool::after_fork() noexcept {
  for (ThreadBlocks* thread : threads_) {
    thread->after_fork();
  }
  lock_.unlock();
}

}  // namespace torchdevice
