// runtime/SharedMemory.cpp: memory of CUDA tensors that several processes see.

#include "runtime/SharedMemory.h"

#include <c10/util/error.h>
#include <fcntl.h>
#include <libshm.h>
#ifdef __APPLE__
#include <sys/mman.h>
#include <sys/stat.h>
#endif
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <tuple>
#include <utility>

#include "native/Backend.h"
#include "runtime/Fork.h"

namespace torchdevice {
namespace {

/// Which device each shared range belongs to, by first address.
class SharedRanges {
 public:
  struct Range {
    uintptr_t end;
    c10::DeviceIndex device;
  };

  void add(const void* pointer, size_t nbytes, c10::DeviceIndex device) {
    const auto start = reinterpret_cast<uintptr_t>(pointer);
    const std::lock_guard guard(mutex_);
    ranges_[start] = {start + nbytes, device};
  }

  void remove(const void* pointer) {
    const std::lock_guard guard(mutex_);
    ranges_.erase(reinterpret_cast<uintptr_t>(pointer));
  }

  std::optional<Range> find(const void* pointer) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    const std::lock_guard guard(mutex_);
    const auto next = ranges_.upper_bound(address);
    if (next == ranges_.begin() || std::prev(next)->second.end <= address) {
      return std::nullopt;
    }
    return std::prev(next)->second;
  }

  std::mutex& mutex() { return mutex_; }

 private:
  std::mutex mutex_;
  std::map<uintptr_t, Range> ranges_;
};

/// One first send at a time: two threads that send one storage must not move it twice.
std::mutex& sending() {
  static auto* mutex = new std::mutex();
  return *mutex;
}

SharedRanges& shared_ranges() {
  static auto* ranges = [] {
    auto* fresh = new SharedRanges();
    // The first send itself forks, to start the manager, so its lock cannot be taken here.
    on_fork({.before = [] { shared_ranges().mutex().lock(); },
             .in_parent = [] { shared_ranges().mutex().unlock(); },
             .in_child =
                 [] {
                   shared_ranges().mutex().unlock();
                   std::construct_at(&sending());
                 }});
    return fresh;
  }();
  return *ranges;
}

/// The context of a shared storage's DataPtr: keeps the file mapped and, in the sender, the memory it was moved from,
/// as the caching allocator's figures and a kernel that still reads there expect.
class SharedMemory {
 public:
  SharedMemory(at::DataPtr file, size_t nbytes, c10::DeviceIndex device) : file_(std::move(file)), owner_(getpid()) {
    shared_ranges().add(file_.get(), nbytes, device);
  }
  ~SharedMemory() {
    shared_ranges().remove(file_.get());
    // A forked child inherits the mapping but no reference of its own: counting down would take the sender's.
    if (getpid() != owner_) {
      std::ignore = file_.release_context();
    }
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void keep(at::DataPtr moved_from) { moved_from_ = std::move(moved_from); }
  THManagedMapAllocator& file() const { return *THManagedMapAllocator::fromDataPtr(file_); }

  static void destroy(void* context) { delete static_cast<SharedMemory*>(context); }

  /// A DataPtr on `device` that owns `memory`.
  static at::DataPtr wrap(std::unique_ptr<SharedMemory> memory, c10::Device device) {
    void* data = memory->file_.get();
    return {data, memory.release(), &destroy, device};
  }

 private:
  at::DataPtr file_;
  at::DataPtr moved_from_;
  const pid_t owner_;
};

/// Whether it can be one of share_storage()'s. libshm copies a manager's name into a socket's address, however long it
/// is, and counts down what the file begins with, whatever that is.
bool is_well_formed(const SharedHandle& handle) {
  constexpr std::string_view kEnds("/\0", 2);
  return handle.file.starts_with("/torch_") && handle.file.find_first_of(kEnds, 1) == std::string::npos &&
         !handle.manager.empty() && handle.manager.size() < sizeof(sockaddr_un::sun_path) &&
         handle.manager.find('\0') == std::string::npos;
}

/// Throws if there is no such file.
size_t shared_file_size(const std::string& name) {
#ifdef __APPLE__
  const int file = shm_open(name.c_str(), O_RDWR, 0);
#else
  // What shm_open does. It is in other libraries in older releases of glibc, and so is fstat.
  const int file = open(("/dev/shm" + name).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
#endif
  TORCH_CHECK(file >= 0, "unable to open shared memory object <", name, ">: ", c10::utils::str_error(errno));
#ifdef __APPLE__
  struct stat facts{};
  const off_t size = fstat(file, &facts) == 0 ? facts.st_size : 0;
#else
  const off_t size = std::max<off_t>(0, lseek(file, 0, SEEK_END));
#endif
  close(file);
  return static_cast<size_t>(size);
}

/// Throws if the file is not there or has less than `nbytes`: libshm would make it longer, and map less than it was
/// asked for where the size overflows.
at::DataPtr open_file(const SharedHandle& handle, size_t nbytes) {
  constexpr int kExisting = at::ALLOCATOR_MAPPED_SHAREDMEM | at::ALLOCATOR_MAPPED_NOCREATE;
  constexpr size_t kHeader = 64;  // libshm's count of users
  TORCH_CHECK(is_well_formed(handle), "incorrect handle");
  const size_t size = shared_file_size(handle.file);
  TORCH_CHECK(size >= kHeader && nbytes <= size - kHeader, "the handle says ", nbytes, " bytes, and there are ",
              size - std::min(size, kHeader));
  return THManagedMapAllocator::makeDataPtr(handle.manager.c_str(), handle.file.c_str(), kExisting, nbytes);
}

SharedMemory& move_to_file(c10::StorageImpl& storage) {
  auto& backend = native_backend();
  TORCH_CHECK_NOT_IMPLEMENTED(backend.works_on_host_memory(),
                              "Cannot send a CUDA tensor to another process: ", backend.host().name,
                              " cannot work on memory that processes share; send tensor.cpu().");
  const size_t nbytes = storage.nbytes();
  auto file =
      THManagedMapAllocator::makeDataPtr("", at::NewProcessWideShmHandle().c_str(),
                                         at::ALLOCATOR_MAPPED_SHAREDMEM | at::ALLOCATOR_MAPPED_EXCLUSIVE, nbytes);
  backend.synchronize();
  backend.copy(file.get(), storage.data(), nbytes);
  auto memory = std::make_unique<SharedMemory>(std::move(file), nbytes, storage.device().index());
  auto& moved = *memory;
  moved.keep(storage.set_data_ptr(SharedMemory::wrap(std::move(memory), storage.device())));
  return moved;
}

}  // namespace

SharedHandle share_storage(c10::StorageImpl& storage) {
  TORCH_CHECK(!storage.received_cuda(),
              "Attempted to send CUDA tensor received from another process; this is not currently supported. Consider "
              "cloning before sending.");
  const std::lock_guard guard(sending());
  auto* shared = storage.data_ptr().cast_context<SharedMemory>(&SharedMemory::destroy);
  auto& file = (shared != nullptr ? *shared : move_to_file(storage)).file();
  file.incref();
  return {file.filename(), file.manager_handle()};
}

c10::intrusive_ptr<c10::StorageImpl> open_shared(const SharedHandle& handle, size_t nbytes, c10::Device device) {
  at::DataPtr file;
  try {
    file = open_file(handle, nbytes);
  } catch (const c10::Error& error) {
    TORCH_CHECK(false,
                "Cannot open a CUDA tensor of another process, which must live until the tensor has been received (",
                error.what_without_backtrace(), ")");
  }
  THManagedMapAllocator::fromDataPtr(file)->decref();
  auto memory = std::make_unique<SharedMemory>(std::move(file), nbytes, device.index());
  auto storage = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), nbytes,
                                                       SharedMemory::wrap(std::move(memory), device),
                                                       /*allocator=*/nullptr, /*resizable=*/false);
  storage->set_received_cuda(true);
  return storage;
}

void release_shared(const SharedHandle& handle, size_t nbytes) noexcept {
  try {
    THManagedMapAllocator::fromDataPtr(open_file(handle, nbytes))->decref();
    // NOLINTNEXTLINE(bugprone-empty-catch): the sender has ended, and its manager has removed the file
  } catch (const std::exception&) {
  }
}

std::optional<c10::DeviceIndex> shared_owner_of(const void* pointer) {
  const auto range = shared_ranges().find(pointer);
  return range.has_value() ? std::optional(range->device) : std::nullopt;
}

bool is_shared(const void* pointer, size_t nbytes) {
  const auto range = shared_ranges().find(pointer);
  return range.has_value() && nbytes <= range->end - reinterpret_cast<uintptr_t>(pointer);
}

}  // namespace torchdevice
