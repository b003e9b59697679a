// native/mps/MpsMemory.h: CUDA's allocator over torch's MPS allocator.

#pragma once

#include <ATen/mps/MPSAllocatorInterface.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "allocator/CachingAllocator.h"

namespace torchdevice {

/// See Note [Memory of MPS]. Statistics are those of the MPS allocator, of the whole process; peaks are as of when
/// somebody allocated through this class or asked. So is the limit: all devices' memory together. Private pools keep
/// nothing apart: an MPS buffer has one owner.
class MpsMemory final : public CachingAllocator {
 public:
  explicit MpsMemory(at::mps::IMPSAllocator& buffers) : buffers_(buffers) {}

  /// The MPS buffer under `memory` that allocate_on() gave a host kernel, or a copy of memory that comes from
  /// elsewhere.
  c10::DataPtr from_host(c10::DataPtr&& memory, size_t nbytes);
  /// Raises torch.OutOfMemoryError, and counts it, if `error` is that of the MPS allocator.
  void raise_if_out_of_memory(const c10::Error& error);
  /// Whether `memory` was given to a host kernel; if so it is free now.
  bool free_host_memory(void* memory);
  /// Of results of host kernels that lay elsewhere.
  uint64_t copied_bytes() const noexcept { return copied_bytes_.load(std::memory_order_relaxed); }

  c10::DataPtr allocate(size_t nbytes) override;
  c10::DataPtr allocate_on(size_t nbytes, c10::DeviceIndex owner, c10::Device reported) override;
  void* allocate_for_stream(size_t nbytes, c10::Stream stream) override;
  c10::DeleterFnPtr raw_deleter() const override { return buffers_.raw_deleter(); }
  void copy_data(void* dest, const void* src, size_t count) const override;

  bool initialized() override;
  void emptyCache(c10::MempoolId_t mempool_id) override;
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override;
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override;
  void resetAccumulatedStats(c10::DeviceIndex device) override;
  void resetPeakStats(c10::DeviceIndex device) override;
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override;

  void set_enabled(bool enabled) override { enabled_ = enabled; }
  bool enabled() const override { return enabled_; }
  void set_memory_fraction(double fraction, c10::DeviceIndex device) override;
  double memory_fraction(c10::DeviceIndex device) override;
  std::vector<c10::CachingDeviceAllocator::SegmentInfo> snapshot(c10::MempoolId_t pool) override;
  void set_custom(std::shared_ptr<CustomAllocator> custom) override;
  std::shared_ptr<CustomAllocator> custom() const override { return nullptr; }

  bool has_history() const override { return false; }
  void configure_history(const HistorySettings& settings) override;
  bool history_enabled() override { return false; }
  void annotate(std::string name, const char* stage) override;
  Traces traces() override;
  Context context_of(const void* memory) override;
  void annotate_block(const void* memory, const std::string& text) override;
  void attach_oom_observer(const std::function<void(int64_t, size_t, size_t, size_t)>& observer) override;

  void create_pool(c10::DeviceIndex device, c10::MempoolId_t id, bool splits,
                   std::shared_ptr<const CustomAllocator> source) override;
  void begin_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id,
                              std::function<bool(c10::StreamId)> filter) override;
  bool end_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id) override;
  bool release_pool(c10::DeviceIndex device, c10::MempoolId_t id) override;
  int pool_use_count(c10::DeviceIndex device, c10::MempoolId_t id) override;
  bool pool_has_exactly(c10::DeviceIndex device, c10::MempoolId_t id,
                        const std::unordered_set<const void*>& addresses) override;
  void set_pool_use_on_oom(c10::DeviceIndex device, c10::MempoolId_t id, bool use_on_oom) override;

 private:
  c10::DataPtr allocate_buffer(size_t nbytes);
  c10::DataPtr lend_to_host(size_t nbytes);
  void limit();
  void note_peak() noexcept;

  at::mps::IMPSAllocator& buffers_;
  bool enabled_ = true;
  double fraction_ = 1;

  std::once_flag limited_;
  std::mutex mutex_;
  std::unordered_map<void*, c10::DataPtr> lent_;  ///< by the host's address
  std::map<c10::MempoolId_t, int> pools_;
  std::set<std::pair<c10::DeviceIndex, c10::MempoolId_t>> routes_;  ///< pools that allocations are routed to
  std::atomic<uint64_t> copied_bytes_{0};
  std::atomic<int64_t> ooms_{0};
  int64_t peak_allocated_ = 0;
  int64_t peak_reserved_ = 0;
};

}  // namespace torchdevice
