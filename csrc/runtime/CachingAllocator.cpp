// runtime/CachingAllocator.cpp: CUDA's caching allocator over native memory.

#include "runtime/CachingAllocator.h"

#include <c10/core/impl/GPUTrace.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <iterator>

#include "native/Backend.h"
#include "runtime/Device.h"
#include "runtime/DevicePool.h"
#include "runtime/PageMap.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

void trace_allocation(const void* memory) {
  if (const auto* interpreter = c10::impl::GPUTrace::get_trace(); C10_UNLIKELY(interpreter != nullptr)) {
    (*interpreter)->trace_gpu_memory_allocation(c10::kCUDA, reinterpret_cast<uintptr_t>(memory));
  }
}

void trace_deallocation(const void* memory) {
  if (const auto* interpreter = c10::impl::GPUTrace::get_trace(); C10_UNLIKELY(interpreter != nullptr)) {
    (*interpreter)->trace_gpu_memory_deallocation(c10::kCUDA, reinterpret_cast<uintptr_t>(memory));
  }
}

class PooledAllocator final : public CachingAllocator {
 public:
  PooledAllocator() {
    for (c10::DeviceIndex device = 0; device < kMaxDevices; ++device) {
      pools_[static_cast<uint8_t>(device)] = new DevicePool(device);
    }
    enabled_ = std::getenv("PYTORCH_NO_CUDA_MEMORY_CACHING") == nullptr;
  }

  c10::DataPtr allocate(size_t nbytes) override {
    const c10::DeviceIndex device = current_device();
    return allocate_on(nbytes, device, {c10::kCUDA, device});
  }

  c10::DataPtr allocate_on(size_t nbytes, c10::DeviceIndex owner, c10::Device reported) override {
    void* memory = nbytes != 0 ? take(nbytes, owner, current_stream_id(owner)) : nullptr;
    return {memory, memory, &free_cuda_memory, reported};
  }

  void* allocate_for_stream(size_t nbytes, c10::Stream stream) override {
    return nbytes != 0 ? take(nbytes, stream.device_index(), stream.id()) : nullptr;
  }

  c10::DeleterFnPtr raw_deleter() const override { return &free_cuda_memory; }
  void copy_data(void* dest, const void* src, size_t count) const override { native_backend().copy(dest, src, count); }

  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t mempool_id) override {
    for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
      pool(device).empty_cache(mempool_id);
    }
  }
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override {
    // Memory that is not ours (from_blob, another process's) has an owner who looks after it.
    if (data.get() != nullptr && data.get_deleter() == &free_cuda_memory) {
      Segment& segment = *page_map.find(data.get());
      segment.pool->record_stream(segment, data.get(), stream.id());
    }
  }
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    return pool(device).stats();
  }
  void resetAccumulatedStats(c10::DeviceIndex device) override { pool(device).reset_accumulated_stats(); }
  void resetPeakStats(c10::DeviceIndex device) override { pool(device).reset_peak_stats(); }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override { return pool(device).memory_info(); }

  void set_enabled(bool enabled) override { enabled_ = enabled; }
  bool enabled() const override { return enabled_; }
  void set_memory_fraction(double fraction, c10::DeviceIndex device) override { pool(device).set_fraction(fraction); }
  double memory_fraction(c10::DeviceIndex device) override { return pool(device).fraction(); }

  std::vector<c10::CachingDeviceAllocator::SegmentInfo> snapshot(c10::MempoolId_t id) override {
    std::vector<c10::CachingDeviceAllocator::SegmentInfo> result;
    for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
      auto segments = pool(device).snapshot(id);
      std::move(segments.begin(), segments.end(), std::back_inserter(result));
    }
    return result;
  }

  void create_pool(c10::DeviceIndex device, c10::MempoolId_t id, bool splits) override {
    pool(device).create_pool(id, splits);
  }
  void begin_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id,
                              std::function<bool(c10::StreamId)> filter) override {
    pool(device).begin_allocate_to_pool(id, std::move(filter));
  }
  void end_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id) override {
    pool(device).end_allocate_to_pool(id);
  }
  void release_pool(c10::DeviceIndex device, c10::MempoolId_t id) override { pool(device).release_pool(id); }
  int pool_use_count(c10::DeviceIndex device, c10::MempoolId_t id) override { return pool(device).pool_use_count(id); }
  void set_pool_use_on_oom(c10::DeviceIndex device, c10::MempoolId_t id, bool use_on_oom) override {
    pool(device).set_pool_use_on_oom(id, use_on_oom);
  }

  void before_fork() noexcept {
    for (DevicePool* pool : pools_) {
      pool->before_fork();
    }
  }
  void after_fork() noexcept {
    for (DevicePool* pool : pools_) {
      pool->after_fork();
    }
  }

 private:
  void* take(size_t nbytes, c10::DeviceIndex owner, c10::StreamId stream) {
    DevicePool& pool = *pools_[static_cast<uint8_t>(owner)];
    void* memory = C10_LIKELY(enabled_.load(std::memory_order_relaxed)) ? pool.allocate(nbytes, stream)
                                                                        : pool.allocate_uncached(nbytes);
    trace_allocation(memory);
    return memory;
  }

  DevicePool& pool(c10::DeviceIndex device) {
    TORCH_CHECK(0 <= device && device < device_count(), "Invalid device argument ", static_cast<int>(device),
                ": did you call init?");
    return *pools_[static_cast<uint8_t>(device)];
  }

  /// For every device that there could be: device_count() is not known before the first use of CUDA.
  std::array<DevicePool*, kMaxDevices> pools_{};
  std::atomic<bool> enabled_{true};
};

PooledAllocator& pooled_allocator() {
  static PooledAllocator* const allocator = [] {
    auto* fresh = new PooledAllocator();
    pthread_atfork([] { pooled_allocator().before_fork(); }, [] { pooled_allocator().after_fork(); },
                   [] { pooled_allocator().after_fork(); });
    return fresh;
  }();
  return *allocator;
}

}  // namespace

CachingAllocator& caching_allocator() { return pooled_allocator(); }

std::optional<c10::DeviceIndex> owner_of(const void* pointer) {
  const Segment* segment = page_map.find(pointer);
  return segment != nullptr ? std::optional(segment->pool->device()) : std::nullopt;
}

std::optional<c10::MempoolId_t> pool_of(const void* pointer) {
  const Segment* segment = page_map.find(pointer);
  return segment != nullptr ? std::optional(segment->pool_id) : std::nullopt;
}

c10::MempoolId_t graph_pool_handle(bool is_user_created) {
  static std::atomic<c10::CaptureId_t> user_created{0};
  static std::atomic<c10::CaptureId_t> made_for_graphs{0};
  return is_user_created ? c10::MempoolId_t{0, ++user_created} : c10::MempoolId_t{++made_for_graphs, 0};
}

void free_cuda_memory(void* memory) {
  if (memory == nullptr) {
    return;
  }
  Segment* segment = page_map.find(memory);
  if (C10_UNLIKELY(segment == nullptr)) {
    raise_invalid_pointer(memory);
  }
  trace_deallocation(memory);
  segment->pool->free(*segment, memory);
}

}  // namespace torchdevice
