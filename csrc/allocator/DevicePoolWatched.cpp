// allocator/DevicePoolWatched.cpp: DevicePool's allocations while somebody watches them, or they go another way.

#include <c10/core/Allocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "allocator/DevicePool.h"
#include "runtime/Observer.h"

namespace torchdevice {

using c10::CachingDeviceAllocator::TraceEntry;

// Note [Watched allocations]
// Most programs fill no private pool, record no history, run no profiler, are not checked and have no threads that
// contend. So allocate and free ask a single question, is_watched(); only where the answer is yes do they come here, to
// look at the reasons.

void* DevicePool::allocate_watched(size_t nbytes, c10::StreamId stream) {
  void* memory = allocate_and_record(nbytes, stream);
  tell_observer([&](Observer& one) {
    one.allocated(memory, nbytes, c10::Stream(c10::Stream::UNSAFE, {c10::DeviceType::CUDA, device_}, stream));
  });
  return memory;
}

void DevicePool::free_watched(Segment& segment, void* memory) {
  tell_observer([memory](Observer& one) { one.freed(memory); });
  free_and_record(segment, memory);
}

void* DevicePool::allocate_and_record(size_t nbytes, c10::StreamId stream) {
  if (is_contended() && !is_profiled()) {
    return allocate_contended(nbytes, stream);
  }
  const HistoryScope scope(history_.gather(MemoryHistory::Level::STATE));
  Block* block = nullptr;
  {
    const Guard guard(lock_);
    settle();
    block = &allocate_block(routed_blocks(stream), nbytes);
    record_allocation(*block);
  }
  if (is_profiled()) {
    report(block->start, static_cast<int64_t>(block->size));
  }
  return block->start;
}

void DevicePool::free_and_record(Segment& segment, void* memory) {
  if (is_contended() && !is_profiled()) {
    free_contended(segment, memory);
    return;
  }
  const HistoryScope scope(history_.gather(MemoryHistory::Level::ALL));
  size_t size = 0;
  {
    const Guard guard(lock_);
    settle();
    if (segment.blocks == nullptr) {
      free_uncached(segment, memory);
      return;
    }
    const Block& block = segment.block_at(memory);
    const size_t requested = block.requested;
    size = free_block(segment, memory);
    record_release(TraceEntry::FREE_REQUESTED, segment, memory, requested);
    if (block.state == BlockState::kFree) {
      record_release(TraceEntry::FREE_COMPLETED, segment, memory, requested);
    }
  }
  if (is_profiled()) {
    report(memory, -static_cast<int64_t>(size));
  }
}

void DevicePool::report(void* memory, int64_t change) {
  int64_t allocated = 0;
  int64_t reserved = 0;
  {
    const Guard guard(lock_);
    settle();
    allocated = stats_.allocated_bytes.current();
    reserved = stats_.reserved_bytes.current();
  }
  c10::reportMemoryUsageToProfiler(memory, change, static_cast<size_t>(allocated), static_cast<size_t>(reserved),
                                   {c10::DeviceType::CUDA, device_});
}

}  // namespace torchdevice
