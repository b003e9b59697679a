// native/mps/MpsMemory.cpp: CUDA's allocator over torch's MPS allocator.

#include "native/mps/MpsMemory.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "allocator/CpuAllocator.h"
#include "native/Backend.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice {
namespace {

MpsMemory& mps_memory() { return *static_cast<MpsMemory*>(native_backend().allocator()); }

void free_lent_memory(void* memory) { mps_memory().free_host_memory(memory); }

[[noreturn]] void refuse(const char* what) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "torchdevice: ", what,
                              " is not available where CUDA's memory is MPS's: the allocator is PyTorch's MPS "
                              "allocator; TORCHDEVICE_BACKEND=cpu has it");
}

bool is_out_of_memory(const c10::Error& error) {
  return error.msg().starts_with("MPS backend out of memory") || error.msg().starts_with("Invalid buffer size");
}

constexpr auto kAggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

}  // namespace

void MpsMemory::raise_if_out_of_memory(const c10::Error& error) {
  if (is_out_of_memory(error)) {
    ooms_.fetch_add(1, std::memory_order_relaxed);
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. ", error.msg());
  }
}

/// The MPS allocator itself keeps the limit, as it also allocates what native kernels return.
void MpsMemory::limit() {
  constexpr double kHighestRatio = 2;  // setHighWatermarkRatio takes no more, and takes 0 for no limit
  const double allowed = fraction_ * static_cast<double>(device_total_memory()) * device_count();
  const double ratio = allowed / static_cast<double>(buffers_.getRecommendedMaxMemory());
  buffers_.setHighWatermarkRatio(std::clamp(ratio, std::numeric_limits<double>::min(), kHighestRatio));
}

c10::DataPtr MpsMemory::allocate_buffer(size_t nbytes) {
  // Devices as large as MPS's leave its own limit, which the user may have set, alone.
  std::call_once(limited_, [this] {
    if (device_total_memory() < native_backend().host().total_memory) {
      limit();
    }
  });
  try {
    c10::DataPtr buffer = buffers_.allocate(nbytes);
    note_peak();
    return buffer;
  } catch (const c10::Error& error) {
    raise_if_out_of_memory(error);
    throw;
  }
}

c10::DataPtr MpsMemory::allocate(size_t nbytes) {
  const c10::DeviceIndex device = current_device();
  return allocate_on(nbytes, device, {c10::kCUDA, device});
}

c10::DataPtr MpsMemory::allocate_on(size_t nbytes, c10::DeviceIndex owner, c10::Device reported) {
  note_context(owner);
  if (reported.is_cpu()) {
    // MPS kernels may use host memory of their own.
    return thread_state.works_on_host ? lend_to_host(nbytes) : plain_cpu_allocator().allocate(nbytes);
  }
  c10::DataPtr buffer = nbytes != 0 ? allocate_buffer(nbytes) : c10::DataPtr(nullptr, reported);
  buffer.unsafe_set_device(reported);
  return buffer;
}

c10::DataPtr MpsMemory::lend_to_host(size_t nbytes) {
  if (nbytes == 0) {
    return {nullptr, c10::kCPU};
  }
  c10::DataPtr buffer = allocate_buffer(nbytes);
  // It may be one that another thread has just freed, after a kernel that has not run yet.
  native_backend().settle();
  void* memory = native_backend().host_address(buffer.get());
  const std::lock_guard guard(mutex_);
  lent_.insert_or_assign(memory, std::move(buffer));
  return {memory, memory, &free_lent_memory, c10::kCPU};
}

c10::DataPtr MpsMemory::from_host(c10::DataPtr&& memory, size_t nbytes) {
  if (memory.get() == nullptr) {
    return std::move(memory);
  }
  {
    const std::lock_guard guard(mutex_);
    const auto lent = lent_.find(memory.get());
    if (lent != lent_.end()) {
      if (memory.get_deleter() == &free_lent_memory) {
        static_cast<void>(memory.release_context());
        c10::DataPtr buffer = std::move(lent->second);
        lent_.erase(lent);
        return buffer;
      }
      // Somebody else holds the lent memory, and `memory` holds him.
      const c10::DeleterFnPtr deleter = memory.get_deleter();
      return {lent->second.get(), memory.release_context(), deleter, native_backend().device()};
    }
  }
  c10::DataPtr buffer = allocate_buffer(nbytes);
  std::memcpy(native_backend().host_address(buffer.get()), memory.get(), nbytes);
  copied_bytes_.fetch_add(nbytes, std::memory_order_relaxed);
  return buffer;
}

bool MpsMemory::free_host_memory(void* memory) {
  c10::DataPtr freed;  // outside of the lock
  const std::lock_guard guard(mutex_);
  const auto lent = lent_.find(memory);
  if (lent == lent_.end()) {
    return false;
  }
  freed = std::move(lent->second);
  lent_.erase(lent);
  return true;
}

void* MpsMemory::allocate_for_stream(size_t nbytes, c10::Stream /*stream*/) {
  return nbytes != 0 ? allocate_buffer(nbytes).release_context() : nullptr;
}

void MpsMemory::copy_data(void* dest, const void* src, size_t count) const { native_backend().copy(dest, src, count); }

bool MpsMemory::initialized() { return cuda_is_initialized(); }
void MpsMemory::emptyCache(c10::MempoolId_t /*mempool_id*/) { buffers_.emptyCache(); }
/// MPS has one queue: what is allocated later is used later.
void MpsMemory::recordStream(const c10::DataPtr& /*data*/, c10::Stream /*stream*/) {}

void MpsMemory::note_peak() noexcept {
  const std::lock_guard guard(mutex_);
  peak_allocated_ = std::max(peak_allocated_, static_cast<int64_t>(buffers_.getCurrentAllocatedMemory()));
  peak_reserved_ = std::max(peak_reserved_, static_cast<int64_t>(buffers_.getDriverAllocatedMemory()));
}

c10::CachingDeviceAllocator::DeviceStats MpsMemory::getDeviceStats(c10::DeviceIndex device) {
  check_allocator_device(device);
  note_peak();
  c10::CachingDeviceAllocator::DeviceStats stats;
  const auto allocated = static_cast<int64_t>(buffers_.getCurrentAllocatedMemory());
  for (auto* bytes : {&stats.allocated_bytes, &stats.active_bytes, &stats.requested_bytes}) {
    (*bytes)[kAggregate].current = allocated;
    (*bytes)[kAggregate].peak = peak_allocated_;
  }
  stats.reserved_bytes[kAggregate].current = static_cast<int64_t>(buffers_.getDriverAllocatedMemory());
  stats.reserved_bytes[kAggregate].peak = peak_reserved_;
  stats.num_ooms = ooms_.load(std::memory_order_relaxed);
  return stats;
}

void MpsMemory::resetAccumulatedStats(c10::DeviceIndex device) { check_allocator_device(device); }

void MpsMemory::resetPeakStats(c10::DeviceIndex device) {
  check_allocator_device(device);
  {
    const std::lock_guard guard(mutex_);
    peak_allocated_ = peak_reserved_ = 0;
  }
  note_peak();
}

std::pair<size_t, size_t> MpsMemory::getMemoryInfo(c10::DeviceIndex /*device*/) {
  const size_t total = device_total_memory();
  const size_t taken = buffers_.getDriverAllocatedMemory();
  return {std::min(native_backend().free_memory(), total - std::min(total, taken)), total};
}

void MpsMemory::set_memory_fraction(double fraction, c10::DeviceIndex /*device*/) {
  TORCH_CHECK(0 <= fraction && fraction <= 1, "invalid fraction:", fraction, ". Please set within [0, 1].");
  std::call_once(limited_, [] {});
  fraction_ = fraction;
  limit();
}
double MpsMemory::memory_fraction(c10::DeviceIndex /*device*/) { return fraction_; }

std::vector<c10::CachingDeviceAllocator::SegmentInfo> MpsMemory::snapshot(c10::MempoolId_t /*pool*/) { return {}; }
void MpsMemory::set_custom(std::shared_ptr<CustomAllocator> /*custom*/) { refuse("a pluggable allocator"); }
void MpsMemory::configure_history(const HistorySettings& settings) {
  if (settings.enabled) {
    refuse("the history of memory");
  }
}
void MpsMemory::annotate(std::string /*name*/, const char* /*stage*/) {}
CachingAllocator::Traces MpsMemory::traces() { return {}; }
Context MpsMemory::context_of(const void* /*memory*/) { return nullptr; }
void MpsMemory::annotate_block(const void* /*memory*/, const std::string& /*text*/) {}
void MpsMemory::attach_oom_observer(const std::function<void(int64_t, size_t, size_t, size_t)>& /*observer*/) {
  refuse("an observer of failed allocations");
}

void MpsMemory::create_pool(c10::DeviceIndex /*device*/, c10::MempoolId_t id, bool /*splits*/,
                            std::shared_ptr<const CustomAllocator> source) {
  if (source != nullptr) {
    refuse("a pluggable allocator");
  }
  const std::lock_guard guard(mutex_);
  ++pools_[id];
}

void MpsMemory::begin_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id,
                                       std::function<bool(c10::StreamId)> /*filter*/) {
  const std::lock_guard guard(mutex_);
  TORCH_CHECK(routes_.emplace(device, id).second, "beginAllocateToPool: already recording to mempool_id");
  ++pools_[id];
}

bool MpsMemory::end_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id) {
  const std::lock_guard guard(mutex_);
  return routes_.erase({device, id}) != 0;
}

bool MpsMemory::release_pool(c10::DeviceIndex /*device*/, c10::MempoolId_t id) {
  const std::lock_guard guard(mutex_);
  const auto pool = pools_.find(id);
  if (pool == pools_.end()) {
    return false;
  }
  if (--pool->second == 0) {
    pools_.erase(pool);
  }
  return true;
}

int MpsMemory::pool_use_count(c10::DeviceIndex /*device*/, c10::MempoolId_t id) {
  const std::lock_guard guard(mutex_);
  const auto pool = pools_.find(id);
  return pool != pools_.end() ? pool->second : 0;
}

bool MpsMemory::pool_has_exactly(c10::DeviceIndex /*device*/, c10::MempoolId_t /*id*/,
                                 const std::unordered_set<const void*>& /*addresses*/) {
  refuse("the list of a pool's blocks");
}

void MpsMemory::set_pool_use_on_oom(c10::DeviceIndex /*device*/, c10::MempoolId_t /*id*/, bool /*use_on_oom*/) {}

}  // namespace torchdevice
