// allocator/PinnedMemory.cpp: pinned host memory.

#include "allocator/PinnedMemory.h"

#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/ApproximateClock.h>

#include <bit>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <vector>

#include "runtime/Error.h"
#include "runtime/Fork.h"

namespace torchdevice {
namespace {

using Clock = std::chrono::steady_clock;
using c10::CachingDeviceAllocator::TraceEntry;
using Level = MemoryHistory::Level;

/// The host's allocator takes larger sizes for negative ones.
constexpr size_t kLargestBlock = size_t{1} << 62U;

int64_t microseconds_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
}

/// The pinned ranges of the process, by first address: those that programs registered, and blocks of the allocator.
class PinnedRanges {
 public:
  /// A free block of exactly `nbytes`, now in use; nullptr if there is none.
  void* take(size_t nbytes, const Context& context) {
    const std::lock_guard guard(mutex_);
    const auto found = free_.find(nbytes);
    if (found == free_.end() || found->second.empty()) {
      return nullptr;
    }
    void* block = found->second.back();
    found->second.pop_back();
    ranges_.at(reinterpret_cast<uintptr_t>(block)).in_use = true;
    count_use(nbytes);
    record_allocation(block, nbytes, context);
    return block;
  }

  /// A fresh block of the allocator, in use.
  void add_block(void* pointer, size_t nbytes, int64_t microseconds, const Context& context) {
    const auto start = reinterpret_cast<uintptr_t>(pointer);
    const std::lock_guard guard(mutex_);
    ranges_.insert_or_assign(start, Range{start + nbytes, /*registered=*/false});
    stats_.allocations.increase(1);
    stats_.allocated_bytes.increase(nbytes);
    stats_.host_alloc_time.increase(microseconds);
    ++stats_.num_host_alloc;
    count_use(nbytes);
    record(TraceEntry::SEGMENT_ALLOC, pointer, nbytes, context);
    record_allocation(pointer, nbytes, context);
  }

  /// The block that starts at `pointer` is free again.
  void give_back(void* pointer) {
    const Context context = gather(Level::ALL);
    const std::lock_guard guard(mutex_);
    const auto found = ranges_.find(reinterpret_cast<uintptr_t>(pointer));
    TORCH_INTERNAL_ASSERT(found != ranges_.end());
    const size_t nbytes = found->second.end - found->first;
    free_[nbytes].push_back(pointer);
    found->second.in_use = false;
    record_release(pointer, nbytes, context);
    stats_.active_requests.decrease(1);
    stats_.active_bytes.decrease(nbytes);
  }

  /// Free blocks go back to the system's allocator.
  void release_free_blocks() {
    const std::lock_guard guard(mutex_);
    for (const auto& [nbytes, blocks] : free_) {
      for (void* block : blocks) {
        const auto start = Clock::now();
        ranges_.erase(reinterpret_cast<uintptr_t>(block));
        record(TraceEntry::SEGMENT_FREE, block, nbytes, nullptr);
        c10::free_cpu(block);
        stats_.allocations.decrease(1);
        stats_.allocated_bytes.decrease(nbytes);
        stats_.host_free_time.increase(microseconds_since(start));
        ++stats_.num_host_free;
      }
    }
    free_.clear();
  }

  /// False if the range overlaps one that is there.
  bool add_registered(void* pointer, size_t nbytes) {
    const Context context = gather(Level::STATE);
    const auto start = reinterpret_cast<uintptr_t>(pointer);
    const std::lock_guard guard(mutex_);
    const auto next = ranges_.lower_bound(start);
    if (next != ranges_.end() && next->first < start + nbytes) {
      return false;
    }
    if (next != ranges_.begin() && std::prev(next)->second.end > start) {
      return false;
    }
    ranges_.emplace_hint(next, start, Range{start + nbytes, /*registered=*/true});
    record(TraceEntry::SEGMENT_ALLOC, pointer, nbytes, nullptr);
    record_allocation(pointer, nbytes, context);
    return true;
  }

  /// Forget the registered range that starts at `pointer`; false if there is none.
  bool remove_registered(void* pointer) {
    const Context context = gather(Level::ALL);
    const std::lock_guard guard(mutex_);
    const auto found = ranges_.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == ranges_.end() || !found->second.registered) {
      return false;
    }
    const size_t nbytes = found->second.end - found->first;
    ranges_.erase(found);
    record_release(pointer, nbytes, context);
    record(TraceEntry::SEGMENT_FREE, pointer, nbytes, nullptr);
    return true;
  }

  bool contains(const void* pointer, size_t nbytes) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    const std::lock_guard guard(mutex_);
    const auto next = ranges_.upper_bound(address);
    if (next == ranges_.begin()) {
      return false;
    }
    const uintptr_t end = std::prev(next)->second.end;
    return end > address && end - address >= nbytes;
  }

  /// The calling thread's place in the program, if the history wants it. Takes Python's lock.
  Context gather(Level level) const { return history_.gather(level); }

  void configure_history(const HistorySettings& settings) {
    const std::lock_guard guard(mutex_);
    history_.configure(settings);
  }
  std::vector<TraceEntry> trace() {
    const std::lock_guard guard(mutex_);
    return history_.trace();
  }
  std::vector<PinnedBlock> blocks() {
    const std::lock_guard guard(mutex_);
    std::vector<PinnedBlock> all;
    for (const auto& [start, range] : ranges_) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): it was one when the range was added
      const auto* pointer = reinterpret_cast<const void*>(start);
      if (!range.registered || history_.enabled()) {
        all.push_back({start, range.end - start, range.in_use, history_.find(pointer, /*segment=*/false)});
      }
    }
    return all;
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
    bool in_use = true;
  };

  void record(TraceEntry::Action action, const void* pointer, size_t nbytes, const Context& context) {
    history_.record(action, /*device=*/-1, reinterpret_cast<size_t>(pointer), nbytes, /*stream=*/nullptr,
                    c10::MempoolId_t{0, 0}, context);
  }
  void record_allocation(const void* pointer, size_t nbytes, const Context& context) {
    record(TraceEntry::ALLOC, pointer, nbytes, context);
    history_.keep(pointer, /*segment=*/false, context);
  }
  void record_release(const void* pointer, size_t nbytes, Context context) {
    if (context == nullptr) {
      context = history_.find(pointer, /*segment=*/false);
    }
    record(TraceEntry::FREE_REQUESTED, pointer, nbytes, context);
    record(TraceEntry::FREE_COMPLETED, pointer, nbytes, context);
    history_.forget(pointer, /*segment=*/false);
  }

  void count_use(size_t nbytes) {
    stats_.active_requests.increase(1);
    stats_.active_bytes.increase(nbytes);
  }

  std::mutex mutex_;
  std::map<uintptr_t, Range> ranges_;
  std::map<size_t, std::vector<void*>> free_;  ///< by size
  at::HostStats stats_;
  MemoryHistory history_;
};

PinnedRanges& pinned_ranges() {
  static auto* ranges = [] {
    auto* fresh = new PinnedRanges();
    on_fork({.before = [] { pinned_ranges().mutex().lock(); },
             .in_parent = [] { pinned_ranges().mutex().unlock(); },
             .in_child = [] { pinned_ranges().mutex().unlock(); }});
    return fresh;
  }();
  return *ranges;
}

c10::ApproximateClockToUnixTimeConverter& trace_clock() {
  static auto* const clock = new c10::ApproximateClockToUnixTimeConverter();
  return *clock;
}

void release_pinned(void* pointer) {
  if (pointer) {
    pinned_ranges().give_back(pointer);
  }
}

/// As CUDA's: sizes are rounded up to a power of two, and freed blocks are kept for the next request of their size.
class PinnedAllocator final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(size_t nbytes) override {
    void* pointer = nullptr;
    if (nbytes != 0) {
      if (nbytes > kLargestBlock) {
        throw_cuda_error(CudaError::kMemoryAllocation, "allocate");
      }
      const size_t size = std::bit_ceil(nbytes);
      const Context context = pinned_ranges().gather(Level::STATE);
      pointer = pinned_ranges().take(size, context);
      if (!pointer) {
        pointer = allocate_block(size, context);
      }
    }
    return {pointer, pointer, &release_pinned, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_pinned; }
  void copy_data(void* target, const void* source, size_t nbytes) const override {
    default_copy_data(target, source, nbytes);
  }

  // Copies from pinned memory are done when the copy returns, so there is nothing to wait for before reuse.
  bool record_event(void* pointer, void* /*context*/, c10::Stream /*stream*/) override { return is_pinned(pointer); }
  void empty_cache() override { pinned_ranges().release_free_blocks(); }

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

 private:
  static void* allocate_block(size_t size, const Context& context) {
    const auto start = Clock::now();
    void* block = nullptr;
    try {
      block = c10::alloc_cpu(size);
    } catch (const c10::Error&) {
      throw_cuda_error(CudaError::kMemoryAllocation, "allocate_block");
    }
    pinned_ranges().add_block(block, size, microseconds_since(start), context);
    return block;
  }
};

}  // namespace

at::HostAllocator& host_allocator() {
  static auto* allocator = new PinnedAllocator();
  return *allocator;
}

std::vector<PinnedBlock> pinned_blocks() { return pinned_ranges().blocks(); }

void configure_pinned_history(const HistorySettings& settings) {
  static_cast<void>(trace_clock());  // takes its first look at the two clocks now
  pinned_ranges().configure_history(settings);
}

std::vector<TraceEntry> pinned_trace() {
  const auto nanoseconds = trace_clock().makeConverter();
  auto entries = pinned_ranges().trace();
  for (TraceEntry& entry : entries) {
    entry.time_.t_ = nanoseconds(entry.time_.approx_t_) / 1000;
  }
  return entries;
}

bool is_pinned(const void* pointer, size_t nbytes) { return pinned_ranges().contains(pointer, nbytes); }

int register_host_memory(void* pointer, size_t nbytes) {
  const bool wraps_around = nbytes > std::numeric_limits<uintptr_t>::max() - reinterpret_cast<uintptr_t>(pointer);
  if (!pointer || nbytes == 0 || wraps_around) {
    return static_cast<int>(CudaError::kInvalidValue);
  }
  const bool added = pinned_ranges().add_registered(pointer, nbytes);
  return static_cast<int>(added ? CudaError::kSuccess : CudaError::kHostMemoryAlreadyRegistered);
}

int unregister_host_memory(void* pointer) {
  if (!pointer) {
    return static_cast<int>(CudaError::kInvalidValue);
  }
  const bool removed = pinned_ranges().remove_registered(pointer);
  return static_cast<int>(removed ? CudaError::kSuccess : CudaError::kHostMemoryNotRegistered);
}

}  // namespace torchdevice
