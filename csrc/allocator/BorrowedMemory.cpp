// allocator/BorrowedMemory.cpp: memory of CUDA tensors that others made: DLPack, __cuda_array_interface__, from_blob.

#include "allocator/BorrowedMemory.h"

#include "allocator/ForeignSegments.h"
#include "allocator/PinnedMemory.h"
#include "native/Backend.h"
#include "runtime/Device.h"
#include "runtime/Error.h"
#include "runtime/SharedMemory.h"

namespace torchdevice {
namespace {

bool is_there(const void* memory, size_t nbytes) {
  if (const Segment* segment = find_segment(memory)) {
    return nbytes <= segment->size - static_cast<size_t>(static_cast<const char*>(memory) - segment->base);
  }
  if (native_backend().works_on_host_memory()) {
    return is_shared(memory, nbytes) || is_pinned(memory, nbytes);
  }
  return nbytes <= native_backend().buffer_size(memory);
}

}  // namespace

void check_lender(const c10::StorageImpl& storage, int64_t offset, size_t itemsize) {
  if (!storage.device().is_cuda()) {
    return;
  }
  check_device(storage.device().index());
  const bool begins_within = offset >= 0 && static_cast<size_t>(offset) <= storage.nbytes() / itemsize;
  if (!begins_within || (storage.nbytes() != 0 && !is_there(storage.data(), storage.nbytes()))) {
    throw_cuda_error(CudaError::kIllegalAddress, "check_lender");
  }
}

}  // namespace torchdevice
