// allocator/DevicePoolHistory.cpp: what DevicePool tells its memory history.

#include "allocator/DevicePool.h"
#include "allocator/ForeignSegments.h"
#include "runtime/Stream.h"

namespace torchdevice {

using c10::CachingDeviceAllocator::TraceEntry;

namespace {

size_t as_number(const void* address) noexcept { return reinterpret_cast<size_t>(address); }

bool begins_live_block(const Segment& segment, const void* memory) {
  return segment.blocks != nullptr && segment.block_at(memory).start == memory &&
         segment.block_at(memory).state == BlockState::kAllocated;
}

}  // namespace

void* DevicePool::handle_of(c10::StreamId stream) const {
  return stream_handle(c10::Stream(c10::Stream::UNSAFE, {c10::DeviceType::CUDA, device_}, stream));
}

void DevicePool::configure_history(const HistorySettings& settings) {
  const Guard guard(lock_);
  settle();
  history_.configure(settings);
  update_watched();
}

bool DevicePool::history_enabled() {
  const Guard guard(lock_);
  return history_.enabled();
}

std::vector<TraceEntry> DevicePool::trace() {
  const Guard guard(lock_);
  return history_.trace();
}

Context DevicePool::context_of(const Segment& segment, const void* memory) {
  const Guard guard(lock_);
  return begins_live_block(segment, memory) ? history_.find(memory, /*segment=*/false) : nullptr;
}

bool DevicePool::annotate(const Segment& segment, const void* memory, const std::string& text) {
  Context context = history_.gather(MemoryHistory::Level::ALLOC);
  const Guard guard(lock_);
  if (!begins_live_block(segment, memory)) {
    return false;
  }
  history_.annotate(device_, as_number(memory), segment.block_at(memory).requested, handle_of(segment.owner->stream),
                    segment.pool_id, std::move(context), text);
  return true;
}

void DevicePool::record_allocation(const Block& block) {
  if (!history_.is_active()) {
    return;
  }
  const Segment& segment = *find_segment(block.start);
  const Context& context = thread_history().context;
  history_.record(TraceEntry::ALLOC, device_, as_number(block.start), block.requested, handle_of(segment.owner->stream),
                  segment.pool_id, context);
  history_.keep(block.start, /*segment=*/false, context);
}

void DevicePool::record_release(MemoryHistory::Action action, const Segment& segment, const void* memory,
                                size_t requested) {
  if (!history_.is_active()) {
    return;
  }
  const Context& context = thread_history().context;
  history_.record(action, device_, as_number(memory), requested, handle_of(segment.owner->stream), segment.pool_id,
                  context != nullptr ? context : history_.find(memory, /*segment=*/false));
  if (action == TraceEntry::FREE_COMPLETED) {
    history_.forget(memory, /*segment=*/false);
    update_watched();
  }
}

void DevicePool::record_segment(MemoryHistory::Action action, const Segment& segment) {
  if (!history_.is_active()) {
    return;
  }
  const Context& context = thread_history().context;
  history_.record(action, device_, as_number(segment.base), segment.size, handle_of(segment.owner->stream),
                  segment.pool_id, context != nullptr ? context : history_.find(segment.base, /*segment=*/true));
  if (action == TraceEntry::SEGMENT_ALLOC) {
    history_.keep(segment.base, /*segment=*/true, context);
  } else {
    history_.forget(segment.base, /*segment=*/true);
    update_watched();
  }
}

}  // namespace torchdevice
