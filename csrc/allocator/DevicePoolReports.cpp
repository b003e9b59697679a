// allocator/DevicePoolReports.cpp: DevicePool's statistics, and the snapshot of its blocks.

#include <algorithm>

#include "allocator/DevicePool.h"

namespace torchdevice {

using c10::CachingDeviceAllocator::BlockInfo;
using c10::CachingDeviceAllocator::DeviceStats;
using c10::CachingDeviceAllocator::SegmentInfo;

DeviceStats DevicePool::stats() {
  const Guard guard(lock_);
  settle();
  return stats_.device_stats();
}

void DevicePool::reset_peak_stats() {
  const Guard guard(lock_);
  settle();
  stats_.reset_peak();
}

void DevicePool::reset_accumulated_stats() {
  const Guard guard(lock_);
  settle();
  stats_.reset_accumulated();
}

std::vector<SegmentInfo> DevicePool::snapshot(c10::MempoolId_t pool) {
  const Guard guard(lock_);
  settle();
  for (const auto& blocks : streams_) {
    unpark(*blocks);
  }
  std::vector<SegmentInfo> result;
  result.reserve(segments_.size());
  for (const Segment* segment : segments_) {
    if (pool != c10::MempoolId_t{0, 0} && segment->pool_id != pool) {
      continue;
    }
    SegmentInfo& info = result.emplace_back();
    info.device = device_;
    info.address = reinterpret_cast<size_t>(segment->base);
    info.total_size = segment->size;
    info.stream = handle_of(segment->owner->stream);
    info.context_when_allocated = history_.find(segment->base, /*segment=*/true);
    info.is_large = !segment->small;
    info.owner_private_pool_id = segment->pool_id;
    for (const Block* block = &segment->block_at(segment->base); block != nullptr; block = block->next) {
      BlockInfo& entry = info.blocks.emplace_back();
      entry.size = block->size;
      entry.allocated = block->state == BlockState::kAllocated;
      entry.active = block->state != BlockState::kFree;
      entry.requested_size = entry.active ? block->requested : 0;
      entry.context_when_allocated = entry.active ? history_.find(block->start, /*segment=*/false) : nullptr;
      info.allocated_size += entry.allocated ? entry.size : 0;
      info.active_size += entry.active ? entry.size : 0;
      info.requested_size += entry.requested_size;
    }
  }
  std::sort(result.begin(), result.end(),
            [](const SegmentInfo& a, const SegmentInfo& b) { return a.address < b.address; });
  size_t active = 0;
  for (const SegmentInfo& info : result) {
    active += info.active_size;
  }
  history_.record(c10::CachingDeviceAllocator::TraceEntry::SNAPSHOT, device_, 0, active, nullptr, pool, nullptr);
  return result;
}

}  // namespace torchdevice
