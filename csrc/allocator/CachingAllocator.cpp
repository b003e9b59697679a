// allocator/CachingAllocator.cpp: CUDA's caching allocator over native memory.

#include "allocator/CachingAllocator.h"

#include <c10/core/impl/GPUTrace.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <new>

#include "allocator/DevicePool.h"
#include "allocator/ForeignSegments.h"
#include "native/Backend.h"
#include "runtime/Device.h"
#include "runtime/Fork.h"
#include "runtime/Observer.h"
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

// No part of take(), which has no text on its stack.
[[noreturn, gnu::noinline]] void raise_without_records() {
  TORCH_CHECK_WITH(OutOfMemoryError, false,
                   "CUDA out of memory. The host has no memory left for the allocator's own records.");
}

class PooledAllocator final : public CachingAllocator {
 public:
  PooledAllocator() {
    for (c10::DeviceIndex device = 0; device < kMaxDevices; ++device) {
      pools_[static_cast<uint8_t>(device)] = new DevicePool(device);
    }
    if (std::getenv("PYTORCH_NO_CUDA_MEMORY_CACHING") != nullptr) {
      mode_ = Mode::kUncached;
    }
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

  bool initialized() override { return cuda_is_initialized(); }
  void emptyCache(c10::MempoolId_t mempool_id) override {
    if (const auto custom = this->custom(); custom != nullptr && custom->reset != nullptr) {
      custom->reset();
    }
    for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
      pool(device).empty_cache(mempool_id);
    }
  }
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override {
    // Memory that is not ours (from_blob, another process's) has an owner who looks after it.
    if (data.get() != nullptr && data.get_deleter() == &free_cuda_memory) {
      tell_observer([&](Observer& one) { one.used_on(data.get(), stream); });
      Segment& segment = *find_segment(data.get());
      if (const auto custom = this->custom(); custom != nullptr && custom->record_stream != nullptr) {
        custom->record_stream(data.get(), stream_handle(stream));
      }
      segment.pool->record_stream(segment, data.get(), stream.id());
    }
  }
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    refuse_if_custom("getDeviceStats");
    return pool(device).stats();
  }
  void resetAccumulatedStats(c10::DeviceIndex device) override {
    refuse_if_custom("resetAccumulatedStats");
    pool(device).reset_accumulated_stats();
  }
  void resetPeakStats(c10::DeviceIndex device) override {
    refuse_if_custom("resetPeakStats");
    pool(device).reset_peak_stats();
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override { return pool(device).memory_info(); }

  void set_enabled(bool enabled) override {
    if (custom() == nullptr) {
      mode_ = enabled ? Mode::kCached : Mode::kUncached;
    }
  }
  bool enabled() const override { return mode_ != Mode::kUncached; }
  void set_memory_fraction(double fraction, c10::DeviceIndex device) override {
    if (const auto custom = this->custom(); custom != nullptr && custom->set_memory_fraction != nullptr) {
      custom->set_memory_fraction(fraction, device);
    }
    pool(device).set_fraction(fraction);
  }
  double memory_fraction(c10::DeviceIndex device) override { return pool(device).fraction(); }

  std::vector<c10::CachingDeviceAllocator::SegmentInfo> snapshot(c10::MempoolId_t id) override {
    refuse_if_custom("snapshot");
    std::vector<c10::CachingDeviceAllocator::SegmentInfo> result;
    for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
      auto segments = pool(device).snapshot(id);
      std::move(segments.begin(), segments.end(), std::back_inserter(result));
    }
    return result;
  }

  void set_custom(std::shared_ptr<CustomAllocator> custom) override {
    TORCH_CHECK(!initialized() && this->custom() == nullptr, "Can't swap an already initialized allocator");
    // Kept for ever, since memory of it may be released until the end of the process.
    custom_ = new std::shared_ptr<CustomAllocator>(std::move(custom));
    mode_ = Mode::kCustom;
  }
  std::shared_ptr<CustomAllocator> custom() const override {
    return mode_ == Mode::kCustom ? *custom_.load() : nullptr;
  }

  void configure_history(const HistorySettings& settings) override {
    refuse_if_custom("recordHistory");
    // Made now, as it takes its first look at the two clocks here.
    static_cast<void>(clock());
    annotations_.configure(settings);
    for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
      pool(device).configure_history(settings);
    }
  }
  bool has_history() const override { return custom() == nullptr; }
  bool history_enabled() override { return pool(current_device()).history_enabled(); }
  void annotate(std::string name, const char* stage) override {
    annotations_.add(current_device(), std::move(name), stage);
  }
  Traces traces() override {
    const auto nanoseconds = clock().makeConverter();
    const auto convert = [&nanoseconds](c10::CachingDeviceAllocator::trace_time_& time) {
      time.t_ = nanoseconds(time.approx_t_) / 1000;
    };
    Traces result{{}, annotations_.list()};
    for (auto& annotation : result.annotations) {
      convert(annotation.time);
    }
    for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
      for (auto& entry : result.devices.emplace_back(pool(device).trace())) {
        convert(entry.time_);
      }
    }
    return result;
  }
  Context context_of(const void* memory) override {
    Segment* segment = find_segment(memory);
    return segment != nullptr ? segment->pool->context_of(*segment, memory) : nullptr;
  }
  void annotate_block(const void* memory, const std::string& text) override {
    if (custom() != nullptr) {
      return;
    }
    Segment* segment = find_segment(memory);
    TORCH_CHECK(segment != nullptr && segment->pool->annotate(*segment, memory, text),
                "annotateMemory: no live allocation found at pointer ", memory);
  }
  void attach_oom_observer(const DevicePool::OutOfMemoryObserver& observer) override {
    refuse_if_custom("attachOutOfMemoryObserver");
    for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
      pool(device).attach_oom_observer(observer);
    }
  }

  void create_pool(c10::DeviceIndex device, c10::MempoolId_t id, bool splits,
                   std::shared_ptr<const CustomAllocator> source) override {
    refuse_if_custom("createOrIncrefPool");
    pool(device).create_pool(id, splits, std::move(source));
  }
  void begin_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id,
                              std::function<bool(c10::StreamId)> filter) override {
    pool(device).begin_allocate_to_pool(id, std::move(filter));
  }
  bool end_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id) override {
    return pool(device).end_allocate_to_pool(id);
  }
  bool release_pool(c10::DeviceIndex device, c10::MempoolId_t id) override { return pool(device).release_pool(id); }
  int pool_use_count(c10::DeviceIndex device, c10::MempoolId_t id) override { return pool(device).pool_use_count(id); }
  bool pool_has_exactly(c10::DeviceIndex device, c10::MempoolId_t id,
                        const std::unordered_set<const void*>& addresses) override {
    return pool(device).pool_has_exactly(id, addresses);
  }
  void set_pool_use_on_oom(c10::DeviceIndex device, c10::MempoolId_t id, bool use_on_oom) override {
    pool(device).set_pool_use_on_oom(id, use_on_oom);
  }

  void before_fork() noexcept {
    for (DevicePool* pool : pools_) {
      pool->before_fork();
    }
    foreign_segments().before_fork();
    annotations_.before_fork();
  }
  void after_fork() noexcept {
    annotations_.after_fork();
    foreign_segments().after_fork();
    for (DevicePool* pool : pools_) {
      pool->after_fork();
    }
  }

 private:
  void* take(size_t nbytes, c10::DeviceIndex owner, c10::StreamId stream) {
    DevicePool& pool = *pools_[static_cast<uint8_t>(owner)];
    void* memory = nullptr;
    try {
      memory = C10_LIKELY(mode_.load(std::memory_order_relaxed) == Mode::kCached)
                   ? pool.allocate(nbytes, stream)
                   : take_around_cache(pool, nbytes, stream);
    } catch (const std::bad_alloc&) {
      raise_without_records();
    }
    trace_allocation(memory);
    return memory;
  }

  void* take_around_cache(DevicePool& pool, size_t nbytes, c10::StreamId stream) {
    const auto custom = this->custom();
    return custom != nullptr ? pool.allocate_custom(nbytes, stream, *custom) : pool.allocate_uncached(nbytes);
  }

  static c10::ApproximateClockToUnixTimeConverter& clock() {
    static auto* const converter = new c10::ApproximateClockToUnixTimeConverter();
    return *converter;
  }

  void refuse_if_custom(const char* function) const {
    TORCH_CHECK(custom() == nullptr, "CUDAPluggableAllocator does not yet support ", function,
                ". If you need it, please file an issue describing your use case.");
  }

  DevicePool& pool(c10::DeviceIndex device) {
    check_allocator_device(device);
    return *pools_[static_cast<uint8_t>(device)];
  }

  /// For every device that there could be: device_count() is not known before the first use of CUDA.
  std::array<DevicePool*, kMaxDevices> pools_{};
  AnnotationLog annotations_;
  enum class Mode : uint8_t { kCached, kUncached, kCustom };
  std::atomic<Mode> mode_{Mode::kCached};
  std::atomic<std::shared_ptr<CustomAllocator>*> custom_{nullptr};
};

PooledAllocator& pooled_allocator() {
  static PooledAllocator* const allocator = [] {
    auto* fresh = new PooledAllocator();
    on_fork({.before = [] { pooled_allocator().before_fork(); },
             .in_parent = [] { pooled_allocator().after_fork(); },
             .in_child = [] { pooled_allocator().after_fork(); }});
    return fresh;
  }();
  return *allocator;
}

C10_ALWAYS_INLINE void release(void* memory) {
  if (memory == nullptr) {
    return;
  }
  Segment* segment = find_segment(memory);
  if (C10_UNLIKELY(segment == nullptr)) {
    if (native_backend().owns(memory)) {
      caching_allocator().raw_deleter()(memory);
      return;
    }
    raise_invalid_pointer(memory);
  }
  trace_deallocation(memory);
  segment->pool->free(*segment, memory);
}

}  // namespace

CachingAllocator& caching_allocator() {
  static CachingAllocator& allocator =
      native_backend().allocator() != nullptr ? *native_backend().allocator() : pooled_allocator();
  return allocator;
}

void check_allocator_device(c10::DeviceIndex device) {
  TORCH_CHECK(0 <= device && device < device_count(), "Invalid device argument ", static_cast<int>(device),
              ": did you call init?");
}

std::optional<c10::DeviceIndex> owner_of(const void* pointer) {
  if (const Segment* segment = find_segment(pointer)) {
    return segment->pool->device();
  }
  return native_backend().owns(pointer) ? std::optional(c10::DeviceIndex{0}) : std::nullopt;
}

std::optional<c10::MempoolId_t> pool_of(const void* pointer) {
  const Segment* segment = find_segment(pointer);
  return segment != nullptr ? std::optional(segment->pool_id) : std::nullopt;
}

c10::MempoolId_t graph_pool_handle(bool is_user_created) {
  static std::atomic<c10::CaptureId_t> user_created{0};
  static std::atomic<c10::CaptureId_t> made_for_graphs{0};
  return is_user_created ? c10::MempoolId_t{0, ++user_created} : c10::MempoolId_t{++made_for_graphs, 0};
}

void release_cuda_memory(void* memory) { release(memory); }

void free_cuda_memory(void* memory) noexcept {
  try {
    release(memory);
  } catch (const std::exception& error) {
    TORCH_WARN("Memory of a CUDA tensor could not be released: ", error.what());
  }
}

}  // namespace torchdevice
