// allocator/MemoryStats.cpp: what one device's allocator counts.

#include "allocator/MemoryStats.h"

#include <algorithm>

#include "allocator/AllocatorSettings.h"
#include "versions/Versions.h"

namespace torchdevice {

using c10::CachingAllocator::Stat;
using c10::CachingAllocator::StatArray;
using c10::CachingAllocator::StatType;

namespace {

constexpr auto kAll = static_cast<size_t>(StatType::AGGREGATE);
constexpr std::array<size_t, 2> kStatOfPool{static_cast<size_t>(StatType::SMALL_POOL),
                                            static_cast<size_t>(StatType::LARGE_POOL)};

}  // namespace

void Gauge::reset_peak() noexcept {
  for (Level& level : levels_) {
    level.peak = level.current;
  }
  peak_ = current();
}

void Gauge::reset_accumulated() noexcept {
  for (Level& level : levels_) {
    level.freed = 0;
    level.base = level.current;
  }
}

StatArray Gauge::stats() const noexcept {
  StatArray result{};
  for (size_t i = 0; i < levels_.size(); ++i) {
    const Level& level = levels_[i];
    Stat& pool = result[kStatOfPool[i]];
    pool.current = level.current;
    pool.peak = level.peak;
    pool.allocated = level.current + level.freed - level.base;
    pool.freed = level.freed;
    result[kAll].current += pool.current;
    result[kAll].allocated += pool.allocated;
    result[kAll].freed += pool.freed;
  }
  result[kAll].peak = peak_;
  return result;
}

void ActiveGauge::reset_peak(const Gauge& allocated) noexcept {
  const StatArray now = stats(allocated);
  for (size_t i = 0; i < now.size(); ++i) {
    least_peak_[i] = now[i].current;
  }
}

StatArray ActiveGauge::stats(const Gauge& allocated) const noexcept {
  StatArray result = allocated.stats();
  for (size_t i = 0; i < deferred_.size(); ++i) {
    for (const size_t stat : {kAll, kStatOfPool[i]}) {
      result[stat].current += deferred_[i];
      result[stat].freed += deferred_at_reset_[i] - deferred_[i];
    }
  }
  for (size_t i = 0; i < result.size(); ++i) {
    result[i].peak = std::max(result[i].peak, least_peak_[i]);
  }
  return result;
}

void MemoryStats::reset_peak() noexcept {
  for (Gauge* gauge : {&allocation, &allocated_bytes, &requested_bytes, &inactive_split, &inactive_split_bytes,
                       &segment, &reserved_bytes}) {
    gauge->reset_peak();
  }
  for (auto& [id, gauge] : private_reserved_bytes) {
    gauge.reset_peak();
  }
  active.reset_peak(allocation);
  active_bytes.reset_peak(allocated_bytes);
  oversize_allocations.reset_peak();
  oversize_segments.reset_peak();
}

void MemoryStats::reset_accumulated() noexcept {
  for (Gauge* gauge : {&allocation, &allocated_bytes, &requested_bytes, &inactive_split, &inactive_split_bytes,
                       &segment, &reserved_bytes}) {
    gauge->reset_accumulated();
  }
  for (auto& [id, gauge] : private_reserved_bytes) {
    gauge.reset_accumulated();
  }
  active.reset_accumulated();
  active_bytes.reset_accumulated();
  oversize_allocations.reset_accumulated();
  oversize_segments.reset_accumulated();
  alloc_retries = ooms = oom_rejections = stream_syncs = segments_made = segments_released = 0;
}

c10::CachingDeviceAllocator::DeviceStats MemoryStats::device_stats() const {
  c10::CachingDeviceAllocator::DeviceStats stats;
  stats.allocation = allocation.stats();
  stats.segment = segment.stats();
  stats.active = active.stats(allocation);
  stats.inactive_split = inactive_split.stats();
  stats.allocated_bytes = allocated_bytes.stats();
  stats.reserved_bytes = reserved_bytes.stats();
  versions::with_private_pools(stats, [this](auto& pools) {
    for (const auto& [id, gauge] : private_reserved_bytes) {
      pools[id] = gauge.stats();
    }
  });
  stats.active_bytes = active_bytes.stats(allocated_bytes);
  stats.inactive_split_bytes = inactive_split_bytes.stats();
  stats.requested_bytes = requested_bytes.stats();
  stats.num_alloc_retries = alloc_retries;
  stats.num_ooms = ooms;
  stats.num_oom_rejections = oom_rejections;
  stats.oversize_allocations = oversize_allocations;
  stats.oversize_segments = oversize_segments;
  stats.num_sync_all_streams = stream_syncs;
  stats.num_device_alloc = segments_made;
  stats.num_device_free = segments_released;
  stats.max_split_size = static_cast<int64_t>(allocator_settings.max_split_size.load());
  return stats;
}

}  // namespace torchdevice
