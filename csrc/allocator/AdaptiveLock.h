// allocator/AdaptiveLock.h: the lock around one device's blocks.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace torchdevice {

/// A mutex whose uncontended lock and unlock are one instruction each; waiters spin, yield, then sleep.
class AdaptiveLock {
 public:
  void lock() noexcept {
    if (taken_.exchange(true, std::memory_order_acquire)) [[unlikely]] {
      wait();
    }
  }
  void unlock() noexcept { taken_.store(false, std::memory_order_release); }

  /// How often a thread had to wait, for whoever holds the lock.
  uint32_t waits() const noexcept { return waits_; }
  void forget_waits() noexcept { waits_ = 0; }

 private:
  [[gnu::cold, gnu::noinline]] void wait() noexcept {
    constexpr int kSpins = 64;
    constexpr int kYields = 64;
    for (int round = 0;; ++round) {
      if (!taken_.load(std::memory_order_relaxed) && !taken_.exchange(true, std::memory_order_acquire)) {
        ++waits_;
        return;
      }
      if (round < kSpins) {
        continue;
      }
      if (round < kSpins + kYields) {
        std::this_thread::yield();
      } else {
        // The holder may be of lower priority, or inside a system call for a new segment.
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
  }

  std::atomic<bool> taken_{false};
  uint32_t waits_ = 0;
};

}  // namespace torchdevice
