// allocator/StorageResize.cpp: growing and shrinking the storage of a CUDA tensor.

#include "allocator/StorageResize.h"

#include <algorithm>

#include "allocator/CachingAllocator.h"

namespace torchdevice {

void resize_storage(c10::StorageImpl& storage, size_t nbytes) {
  TORCH_CHECK(storage.resizable(), "Trying to resize storage that is not resizable");
  const c10::Device device = storage.device();
  at::DataPtr memory = caching_allocator().allocate_on(nbytes, device.index(), device);
  if (const size_t kept = std::min(nbytes, storage.nbytes()); kept > 0) {
    caching_allocator().copy_data(memory.get(), storage.data(), kept);
  }
  storage.set_data_ptr_noswap(std::move(memory));
  storage.set_nbytes(nbytes);
}

}  // namespace torchdevice
