// allocator/BorrowedMemory.h: memory of CUDA tensors that others made: DLPack, __cuda_array_interface__, from_blob.

#pragma once

#include <ATen/core/TensorBase.h>
#include <c10/core/StorageImpl.h>

namespace torchdevice {

// Note [Borrowed memory]
// Who makes a CUDA tensor over memory by address says how much there is, and nobody asks: a GPU notices by an illegal
// memory access in the first kernel that uses the tensor. So here such storages are looked at whenever a kernel is to
// work on them. They have no allocator and cannot be resized; those of results that a native kernel borrowed have the
// device's allocator since they were adopted.

/// check_borrowed() for a storage that is.
void check_lender(const c10::StorageImpl& storage, int64_t offset, size_t itemsize);

/// Throws CUDA's error of an illegal memory access where `storage` is borrowed and there is less memory than it says,
/// or a tensor begins outside of it, at element `offset`; and that of an invalid device where it says a device that
/// there is not.
inline void check_borrowed(const c10::StorageImpl& storage, int64_t offset = 0, size_t itemsize = 1) {
  if (C10_UNLIKELY(!storage.resizable() && storage.allocator() == nullptr)) {
    check_lender(storage, offset, itemsize);
  }
}
inline void check_borrowed(const at::TensorBase& tensor) {
  check_borrowed(*tensor.storage().unsafeGetStorageImpl(), tensor.storage_offset(), tensor.itemsize());
}

}  // namespace torchdevice
