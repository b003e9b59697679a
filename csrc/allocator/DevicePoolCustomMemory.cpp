// allocator/DevicePoolCustomMemory.cpp: DevicePool's dealings with a program's own allocators.

#include <c10/util/Exception.h>

#include <utility>

#include "allocator/DevicePool.h"
#include "allocator/ForeignSegments.h"
#include "runtime/Device.h"
#include "runtime/Error.h"

namespace torchdevice {

Segment* DevicePool::map_segment_from(const CustomAllocator& source, size_t segment_size, c10::StreamId stream) {
  if (!fits(segment_size)) {
    return nullptr;
  }
  void* handle = handle_of(stream);
  void* base = nullptr;
  {
    // It may be a Python function, which waits for the interpreter's lock.
    const Unlocked unlocked(lock_);
    base = source.allocate(segment_size, device_, handle);
  }
  settle();
  if (base == nullptr) {
    return nullptr;
  }
  Segment& segment = new_header();
  fill_header(segment, base, segment_size);
  segment.source = &source;
  segment.source_stream = handle;
  foreign_segments().add(segment);
  note_context(device_);
  return &segment;
}

void* DevicePool::allocate_custom(size_t nbytes, c10::StreamId stream, const CustomAllocator& source) {
  const Guard guard(lock_);
  settle();
  const Segment* segment = map_segment_from(source, nbytes, stream);
  if (segment == nullptr) {
    throw_cuda_error(CudaError::kMemoryAllocation, "the program's own allocator");
  }
  uncached_bytes_ += nbytes;
  return segment->base;
}

void DevicePool::release_custom_segments() {
  for (Segment* segment : std::exchange(released_custom_, {})) {
    free_custom(*segment);
  }
}

void DevicePool::free_custom(Segment& segment) {
  // First forgotten, then freed, as unmap_segment does.
  foreign_segments().remove(segment);
  const Segment freed = segment;
  put_back_header(segment);
  {
    const Unlocked unlocked(lock_);
    try {
      freed.source->release(freed.base, freed.size, device_, freed.source_stream);
    } catch (const std::exception& error) {
      // Most memory ends in a destructor, where nobody could catch it.
      TORCH_WARN("The program's own allocator failed to release memory: ", error.what());
    }
  }
  settle();
}

}  // namespace torchdevice
