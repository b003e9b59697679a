// runtime/SharedMemory.h: memory of CUDA tensors that several processes see.

#pragma once

#include <c10/core/StorageImpl.h>

#include <optional>
#include <string>

namespace torchdevice {

// Note [CUDA IPC without a GPU]
// CUDA hands a process's memory to another by a handle to the whole segment. Here the storage that is sent moves into a
// shared-memory file of torch's own kind (libshm: counted references, and a manager process that removes what crashed
// processes leave), and the handle names the file. As on a GPU, sender and receivers see each other's writes, the
// sender keeps its accounted memory until it drops the storage, a receiver is not charged for it, and what was received
// cannot be sent on. Unlike on a GPU, data_ptr() of the sent storage changes once: the first send moves the bytes, so a
// write that another thread makes to the same tensor during that send may be lost.

/// Names the file of a shared storage, and the manager process that looks after it.
struct SharedHandle {
  std::string file;
  std::string manager;
};

/// Move the bytes of `storage` to where other processes can open them, unless they are there already, and reserve them
/// for one receiver: open_shared() or release_shared() must follow, in any process. Throws where shared memory has run
/// out or the native backend cannot work on it; the storage is unchanged then. Thread-safe.
SharedHandle share_storage(c10::StorageImpl& storage);

/// A storage on `device` over the memory that another process has shared. Throws when that process ended too early, or
/// the handle is not of share_storage() or of a smaller storage.
c10::intrusive_ptr<c10::StorageImpl> open_shared(const SharedHandle& handle, size_t nbytes, c10::Device device);

/// Give up what share_storage() reserved for this receiver. Does nothing when the memory is gone already.
void release_shared(const SharedHandle& handle, size_t nbytes) noexcept;

/// The device whose shared memory `pointer` lies in; interior pointers count.
std::optional<c10::DeviceIndex> shared_owner_of(const void* pointer);

/// Whether the shared memory that `pointer` lies in goes on for `nbytes`.
bool is_shared(const void* pointer, size_t nbytes);

}  // namespace torchdevice
