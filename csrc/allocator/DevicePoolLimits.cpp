// allocator/DevicePoolLimits.cpp: how much DevicePool may take, and what happens beyond that.

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/ScopeExit.h>

#include <algorithm>

#include "allocator/AllocatorSettings.h"
#include "allocator/DevicePool.h"
#include "native/Backend.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice {

using c10::CachingAllocator::format_size;
using c10::CachingDeviceAllocator::TraceEntry;

void DevicePool::set_fraction(double fraction) {
  TORCH_CHECK(0 <= fraction && fraction <= 1, "invalid fraction:", fraction, ". Please set within [0, 1].");
  const Guard guard(lock_);
  fraction_ = fraction;
}

double DevicePool::fraction() {
  follow_allocator_settings();
  const Guard guard(lock_);
  const auto total = static_cast<double>(device_total_memory());
  const std::optional<size_t> limit = allowed();
  return limit.has_value() ? static_cast<double>(*limit) / total : 1.0;
}

void DevicePool::attach_oom_observer(OutOfMemoryObserver observer) {
  const Guard guard(lock_);
  oom_observers_.push_back(std::move(observer));
}

std::pair<size_t, size_t> DevicePool::memory_info() {
  const Guard guard(lock_);
  return {free_memory(), device_total_memory()};
}

size_t DevicePool::free_memory() const {
  // The host counts what was never written as free.
  const size_t total = device_total_memory();
  const auto taken = static_cast<size_t>(stats_.reserved_bytes.current()) + uncached_bytes_;
  return std::min(native_backend().free_memory(), total - std::min(total, taken));
}

std::optional<size_t> DevicePool::allowed() const {
  const double fraction = fraction_.value_or(allocator_settings.memory_fraction);
  if (!fraction_.has_value() && fraction == 1.0) {
    return std::nullopt;
  }
  return static_cast<size_t>(fraction * static_cast<double>(device_total_memory()));
}

bool DevicePool::fits(size_t segment_size) const {
  const size_t taken = static_cast<size_t>(stats_.reserved_bytes.current()) + uncached_bytes_;
  const size_t limit = allowed().value_or(device_total_memory());
  return segment_size <= limit && taken <= limit - segment_size;
}

void DevicePool::raise_out_of_memory(size_t size, size_t segment_size, const StreamBlocks& owner) {
  stats_.ooms += 1;
  if (allocator_settings.throw_on_malloc_oom && !fits(segment_size)) {
    stats_.oom_rejections += 1;
  }
  const auto allocated = static_cast<size_t>(stats_.allocated_bytes.current());
  const auto reserved = static_cast<size_t>(stats_.reserved_bytes.current());
  const std::optional<size_t> limit = allowed();
  const std::string allowance = limit.has_value() ? format_size(*limit) + " allowed; " : "";
  const size_t total = device_total_memory();
  const size_t free = free_memory();
  const size_t unavailable = free_in_private_pools();
  history_.record(TraceEntry::OOM, device_, free, size, handle_of(owner.stream),
                  owner.pool != nullptr ? owner.pool->id : c10::MempoolId_t{0, 0}, thread_history().context);
  const std::string private_pools =
      unavailable != 0 ? "with " + format_size(unavailable) + " allocated in private pools (e.g., CUDA Graphs), " : "";
  c10::reportOutOfMemoryToProfiler(static_cast<int64_t>(size), allocated, reserved, {c10::DeviceType::CUDA, device_});
  if (!oom_observers_.empty()) {
    const auto observers = oom_observers_;
    lock_.unlock();
    // What they throw takes the place of the error, with the lock taken again.
    const auto relock = c10::make_scope_exit([this] { lock_.lock(); });
    for (const OutOfMemoryObserver& observer : observers) {
      observer(device_, segment_size, limit.value_or(total), free);
    }
  }
  TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", format_size(segment_size),
                   ". GPU ", static_cast<int>(device_), " has a total capacity of ", format_size(total), " of which ",
                   format_size(free), " is free. ", allowance, "Of the allocated memory ",
                   format_size(allocated + unavailable), " is allocated by PyTorch, ", private_pools, "and ",
                   format_size(reserved - allocated - unavailable),
                   " is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting"
                   " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for"
                   " Memory Management  (https://docs.pytorch.org/docs/stable/notes/cuda.html"
                   "#optimizing-memory-usage-with-pytorch-cuda-alloc-conf)");
}

}  // namespace torchdevice
