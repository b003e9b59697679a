// allocator/CustomAllocator.h: memory from a program's own functions (torch.cuda.memory.CUDAPluggableAllocator).

#pragma once

#include <c10/core/Device.h>

#include <cstddef>

namespace torchdevice {

/// What stands for cudaStream_t is stream_handle() of runtime/Stream.h.
struct CustomAllocator {
  using Allocate = void*(size_t nbytes, int device, void* stream);
  using Release = void(void* memory, size_t nbytes, int device, void* stream);

  Allocate* allocate;  ///< nullptr when there is no memory left
  Release* release;

  // What a program may have set besides; each is nullptr unless it has.
  void (*init)(int device_count) = nullptr;
  void (*reset)() = nullptr;  ///< emptyCache
  void (*set_memory_fraction)(double fraction, int device) = nullptr;
  void (*record_stream)(void* memory, void* stream) = nullptr;
};

}  // namespace torchdevice
