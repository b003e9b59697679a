// allocator/MemoryStats.h: what one device's allocator counts.

#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>

namespace torchdevice {

enum class PoolKind : uint8_t { kSmall, kLarge };

/// A quantity per pool. Only what every change needs is kept: CUDA's "allocated" (the sum of all rises) is
/// current + freed - base, and current over all pools is a sum.
class Gauge {
 public:
  void rise(PoolKind kind, int64_t amount) noexcept {
    Level& level = levels_[static_cast<size_t>(kind)];
    level.current += amount;
    if (level.current > level.peak) {
      level.peak = level.current;
    }
    const int64_t total = current();
    if (total > peak_) {
      peak_ = total;
    }
  }
  void fall(PoolKind kind, int64_t amount) noexcept {
    Level& level = levels_[static_cast<size_t>(kind)];
    level.current -= amount;
    level.freed += amount;
  }
  /// Rises and falls back to what it was before, below the peak.
  void rise_and_fall(PoolKind kind, int64_t amount) noexcept { levels_[static_cast<size_t>(kind)].freed += amount; }
  /// Rise by a positive amount, fall by a negative one.
  void change(PoolKind kind, int64_t amount) noexcept {
    if (amount > 0) {
      rise(kind, amount);
    } else if (amount < 0) {
      fall(kind, -amount);
    }
  }

  int64_t current() const noexcept { return levels_[0].current + levels_[1].current; }
  int64_t current(PoolKind kind) const noexcept { return levels_[static_cast<size_t>(kind)].current; }
  void reset_peak() noexcept;
  void reset_accumulated() noexcept;
  c10::CachingAllocator::StatArray stats() const noexcept;

 private:
  struct Level {
    int64_t current = 0;
    int64_t peak = 0;
    int64_t freed = 0;
    int64_t base = 0;  ///< current when the sums were last reset
  };
  std::array<Level, 2> levels_{};
  int64_t peak_ = 0;  ///< over both pools together
};

/// Blocks that are active: those handed out, and those freed but not yet known to be unused by other streams. The
/// second kind never outlives the next allocation, so the peak is that of the blocks handed out.
class ActiveGauge {
 public:
  void defer(PoolKind kind, int64_t amount) noexcept { deferred_[static_cast<size_t>(kind)] += amount; }
  void complete(PoolKind kind, int64_t amount) noexcept { deferred_[static_cast<size_t>(kind)] -= amount; }
  void reset_peak(const Gauge& allocated) noexcept;
  void reset_accumulated() noexcept { deferred_at_reset_ = deferred_; }
  c10::CachingAllocator::StatArray stats(const Gauge& allocated) const noexcept;

 private:
  using Amounts = std::array<int64_t, 2>;
  Amounts deferred_{};
  Amounts deferred_at_reset_{};
  std::array<int64_t, 3> least_peak_{};  ///< active when the peaks were last reset, in the order of StatType
};

struct MemoryStats {
  Gauge allocation;
  Gauge allocated_bytes;
  Gauge requested_bytes;
  Gauge inactive_split;
  Gauge inactive_split_bytes;
  Gauge segment;
  Gauge reserved_bytes;
  std::map<c10::MempoolId_t, Gauge> private_reserved_bytes;  ///< by private pool, those that are gone included
  ActiveGauge active;
  ActiveGauge active_bytes;
  c10::CachingAllocator::Stat oversize_allocations;
  c10::CachingAllocator::Stat oversize_segments;
  int64_t alloc_retries = 0;
  int64_t ooms = 0;
  int64_t oom_rejections = 0;
  int64_t stream_syncs = 0;
  int64_t segments_made = 0;
  int64_t segments_released = 0;

  void reset_peak() noexcept;
  void reset_accumulated() noexcept;
  c10::CachingDeviceAllocator::DeviceStats device_stats() const;
};

}  // namespace torchdevice
