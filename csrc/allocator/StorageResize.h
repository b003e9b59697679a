// allocator/StorageResize.h: growing and shrinking the storage of a CUDA tensor.

#pragma once

#include <c10/core/StorageImpl.h>

namespace torchdevice {

/// Give `storage` fresh memory of `nbytes` on its own device and keep what fits of its contents. Throws when the
/// storage is not resizable; the storage is unchanged when memory runs out.
void resize_storage(c10::StorageImpl& storage, size_t nbytes);

}  // namespace torchdevice
