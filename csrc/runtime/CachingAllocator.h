// runtime/CachingAllocator.h: CUDA's caching allocator over native memory.

#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <optional>
#include <vector>

namespace torchdevice {

class CachingAllocator : public c10::DeviceAllocator {
 public:
  /// Memory accounted to cuda:`owner`, carried by a DataPtr that reports `reported`: the CUDA device itself, or the
  /// native one for a result that is still to be adopted. Zero bytes give a null DataPtr.
  virtual c10::DataPtr allocate_on(size_t nbytes, c10::DeviceIndex owner, c10::Device reported) = 0;

  /// Memory outside any DataPtr, for work on `stream`; given back with raw_deallocate. Null for zero bytes.
  virtual void* allocate_for_stream(size_t nbytes, c10::Stream stream) = 0;

  /// Off: every allocation comes from the native backend and goes back to it, without a cache.
  virtual void set_enabled(bool enabled) = 0;
  virtual bool enabled() const = 0;

  /// Limit to a fraction in [0, 1] of the device's memory.
  virtual void set_memory_fraction(double fraction, c10::DeviceIndex device) = 0;
  virtual double memory_fraction(c10::DeviceIndex device) = 0;

  /// Every segment of every device with its blocks.
  virtual std::vector<c10::CachingDeviceAllocator::SegmentInfo> snapshot() = 0;
};

/// The process's allocator; never destroyed, so that tensors may outlive interpreter exit.
CachingAllocator& caching_allocator();

/// The device whose memory `pointer` lies in; interior pointers count. Takes no lock.
std::optional<c10::DeviceIndex> owner_of(const void* pointer);

/// Frees memory of the caching allocator; the deleter in its DataPtrs, whose context is the memory itself.
void free_cuda_memory(void* memory);

}  // namespace torchdevice
