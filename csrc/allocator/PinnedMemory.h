// allocator/PinnedMemory.h: pinned host memory.

#pragma once

#include <ATen/core/CachingHostAllocator.h>

#include <cstddef>
#include <vector>

#include "allocator/MemoryHistory.h"

namespace torchdevice {

// Note [Pinned memory]
// The native backend reads and writes host memory wherever it lies, so pinning moves nothing: it is the record of which
// ranges a program asked to pin, and that record is what is_pinned() answers from.

/// The allocator behind pin_memory(); also registered as torch's host allocator for CUDA.
at::HostAllocator& host_allocator();

/// A block of host_allocator() or, while history is recorded, a registered range.
struct PinnedBlock {
  size_t address;
  size_t nbytes;
  bool in_use;
  Context context;  ///< of its allocation; null if unknown
};
std::vector<PinnedBlock> pinned_blocks();

/// The history of pinned memory (torch.cuda.memory._record_memory_history from torch 2.14 on): of a device -1.
void configure_pinned_history(const HistorySettings& settings);
/// t_ holds the time, in microseconds since 1970.
std::vector<c10::CachingDeviceAllocator::TraceEntry> pinned_trace();

/// Whether `pointer` lies in memory of host_allocator() or in a registered range that goes on for `nbytes`; may point
/// inside.
bool is_pinned(const void* pointer, size_t nbytes = 1);

/// cudaHostRegister: 0, or the code of a CUDA error if the range is empty, wraps around or overlaps a pinned one.
int register_host_memory(void* pointer, size_t nbytes);

/// cudaHostUnregister: 0, or the code of a CUDA error if no registered range starts at `pointer`.
int unregister_host_memory(void* pointer);

}  // namespace torchdevice
