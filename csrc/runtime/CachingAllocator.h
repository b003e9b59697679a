// runtime/CachingAllocator.h: CUDA's caching allocator over native memory.

#pragma once

#include <c10/core/CachingDeviceAllocator.h>

namespace torchdevice {

class CachingAllocator : public c10::DeviceAllocator {
 public:
  /// Memory accounted to cuda:`owner`, carried by a DataPtr that reports `reported`: the CUDA device itself, or the
  /// native one for a result that is still to be adopted. Zero bytes give a null DataPtr.
  virtual c10::DataPtr allocate_on(size_t nbytes, c10::DeviceIndex owner, c10::Device reported) = 0;
};

/// The process's allocator; never destroyed, so that tensors may outlive interpreter exit.
CachingAllocator& caching_allocator();

}  // namespace torchdevice
