// runtime/HostMemory.cpp: pinned host memory.

#include "runtime/HostMemory.h"

#include <c10/core/impl/alloc_cpu.h>
#include <pthread.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>

#include "runtime/Error.h"

namespace torchdevice {
namespace {

using Clock = std::chrono::steady_clock;

int64_t microseconds_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
}

/// The pinned ranges of the process, by first address.
class PinnedRanges {
 public:
  /// False if the range overlaps one that is there.
  bool add(void* pointer, size_t nbytes, bool registered, int64_t microseconds) {
    const auto start = reinterpret_cast<uintptr_t>(pointer);
    const std::lock_guard guard(mutex_);
    const auto next = ranges_.lower_bound(start);
    if (next != ranges_.end() && next->first < start + nbytes) return false;
    if (next != ranges_.begin() && std::prev(next)->second.end > start) return false;
    ranges_.emplace_hint(next, start, Range{start + nbytes, registered});
    if (!registered) count_allocation(nbytes, microseconds);
    return true;
  }

  /// Forget the range of that kind that starts at `pointer`; false if there is none.
  bool remove(void* pointer, bool registered) {
    const std::lock_guard guard(mutex_);
    const auto found = ranges_.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == ranges_.end() || found->second.registered != registered) return false;
    if (!registered) count_release(found->second.end - found->first);
    ranges_.erase(found);
    return true;
  }

  void count_free_time(int64_t microseconds) {
    const std::lock_guard guard(mutex_);
    stats_.host_free_time.increase(microseconds);
  }

  bool contains(const void* pointer) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    const std::lock_guard guard(mutex_);
    const auto next = ranges_.upper_bound(address);
    return next != ranges_.begin() && std::prev(next)->second.end > address;
  }

  template <typename Use>
  auto with_stats(Use use) {
    const std::lock_guard guard(mutex_);
    return use(stats_);
  }

  std::mutex& mutex() { return mutex_; }

 private:
  struct Range {
    uintptr_t end;
    bool registered;
  };

  void count_allocation(size_t nbytes, int64_t microseconds) {
    stats_.allocations.increase(1);
    stats_.active_requests.increase(1);
    stats_.allocated_bytes.increase(nbytes);
    stats_.active_bytes.increase(nbytes);
    stats_.host_alloc_time.increase(microseconds);
    ++stats_.num_host_alloc;
  }

  void count_release(size_t nbytes) {
    stats_.allocations.decrease(1);
    stats_.active_requests.decrease(1);
    stats_.allocated_bytes.decrease(nbytes);
    stats_.active_bytes.decrease(nbytes);
    ++stats_.num_host_free;
  }

  std::mutex mutex_;
  std::map<uintptr_t, Range> ranges_;
  at::HostStats stats_;
};

PinnedRanges& pinned_ranges() {
  static auto* ranges = [] {
    auto* fresh = new PinnedRanges();
    // A fork while another thread holds the lock would leave it held in the child for ever.
    pthread_atfork([] { pinned_ranges().mutex().lock(); }, [] { pinned_ranges().mutex().unlock(); },
                   [] { pinned_ranges().mutex().unlock(); });
    return fresh;
  }();
  return *ranges;
}

void release_pinned(void* pointer) {
  if (!pointer) return;
  const auto start = Clock::now();
  pinned_ranges().remove(pointer, /*registered=*/false);
  c10::free_cpu(pointer);
  pinned_ranges().count_free_time(microseconds_since(start));
}

class PinnedAllocator final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(size_t nbytes) override {
    const auto start = Clock::now();
    void* pointer = nbytes == 0 ? nullptr : c10::alloc_cpu(nbytes);
    if (pointer) pinned_ranges().add(pointer, nbytes, /*registered=*/false, microseconds_since(start));
    return {pointer, pointer, &release_pinned, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_pinned; }
  void copy_data(void* target, const void* source, size_t nbytes) const override {
    default_copy_data(target, source, nbytes);
  }

  // Copies from pinned memory are done when the copy returns, so there is nothing to wait for before reuse.
  bool record_event(void* pointer, void* /*context*/, c10::Stream /*stream*/) override { return is_pinned(pointer); }
  // Nothing is kept: freed memory goes back to the system's allocator at once.
  void empty_cache() override {}

  at::HostStats get_stats() override {
    return pinned_ranges().with_stats([](const at::HostStats& stats) { return stats; });
  }
  void reset_accumulated_stats() override {
    pinned_ranges().with_stats([](at::HostStats& stats) {
      for (auto* stat : {&stats.allocations, &stats.active_requests, &stats.allocated_bytes, &stats.active_bytes}) {
        stat->reset_accumulated();
      }
      stats.host_alloc_time.reset_accumulated();
      stats.host_free_time.reset_accumulated();
      stats.num_host_alloc = stats.num_host_free = 0;
    });
  }
  void reset_peak_stats() override {
    pinned_ranges().with_stats([](at::HostStats& stats) {
      for (auto* stat : {&stats.allocations, &stats.active_requests, &stats.allocated_bytes, &stats.active_bytes}) {
        stat->reset_peak();
      }
      stats.host_alloc_time.reset_peak();
      stats.host_free_time.reset_peak();
    });
  }
};

}  // namespace

at::HostAllocator& host_allocator() {
  static auto* allocator = new PinnedAllocator();
  return *allocator;
}

bool is_pinned(const void* pointer) { return pinned_ranges().contains(pointer); }

int register_host_memory(void* pointer, size_t nbytes) {
  if (!pointer || nbytes == 0) return static_cast<int>(CudaError::invalid_value);
  const bool added = pinned_ranges().add(pointer, nbytes, /*registered=*/true, 0);
  return static_cast<int>(added ? CudaError::success : CudaError::host_memory_already_registered);
}

int unregister_host_memory(void* pointer) {
  if (!pointer) return static_cast<int>(CudaError::invalid_value);
  const bool removed = pinned_ranges().remove(pointer, /*registered=*/true);
  return static_cast<int>(removed ? CudaError::success : CudaError::host_memory_not_registered);
}

}  // namespace torchdevice
