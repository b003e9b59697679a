// native/Backend.h: the device type that does the work behind "cuda".

#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/Allocator.h>
#include <c10/core/Device.h>
#include <c10/core/DispatchKeySet.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "native/Dtypes.h"

namespace torchdevice {

class CachingAllocator;

/// What the host says of itself; torch.cuda's device properties are derived from it.
struct HostFacts {
  std::string name;           ///< processor's (or GPU's) marketing name
  int cores = 1;              ///< physical or logical cores that torch may use
  size_t total_memory = 0;    ///< bytes
  size_t l2_cache_bytes = 0;  ///< bytes, 0 where the host does not say
  int clock_khz = 0;          ///< kHz, 0 where the host does not say
};

/// A mark in the backend's queue, and the time at which it was passed.
class NativeEvent {
 public:
  virtual ~NativeEvent() = default;

  /// Move the mark to the end of what was submitted so far.
  virtual void record() = 0;
  /// Whether the backend has passed the mark; true of one that was never recorded.
  virtual bool query() = 0;
  virtual void synchronize() = 0;
  /// Milliseconds from this mark to `end`, both of which the backend has passed.
  virtual double elapsed_ms(NativeEvent& end) = 0;
};

/// One native backend per process: the CPU, or Apple's MPS. The forwarding engine knows nothing else of it.
class NativeBackend {
 public:
  virtual ~NativeBackend() = default;

  /// "cpu" or "mps".
  virtual const char* name() const = 0;
  /// The device that aliases claim to live on while a native kernel runs.
  virtual c10::Device device() const = 0;
  /// The backend bit that takes CUDA's place in a key set.
  virtual c10::BackendComponent component() const = 0;

  /// A fresh segment of native memory; nullptr when the system has none left. `nbytes` is a multiple of 2 MiB and so is
  /// the address, below 2^48: what lies in between belongs to no other segment.
  virtual void* allocate_segment(size_t nbytes) noexcept = 0;
  virtual void free_segment(void* segment, size_t nbytes) noexcept = 0;
  /// Bytes the system could still give.
  virtual size_t free_memory() const = 0;
  /// Whether kernels can work on any memory of the process, such as a shared file, and not only on segments.
  virtual bool works_on_host_memory() const = 0;
  /// Copy between two places in segments, after everything submitted so far and before anything submitted later.
  virtual void copy(void* destination, const void* source, size_t nbytes) = 0;

  /// The backend's own caching allocator; null where ours cuts segments into blocks.
  virtual CachingAllocator* allocator() { return nullptr; }
  /// Whether `memory` is a buffer of that allocator.
  virtual bool owns(const void* /*memory*/) const { return false; }
  /// Where the host finds memory that `memory` is the backend's name for.
  virtual void* host_address(void* memory) { return memory; }
  /// The backend's name for what a host kernel allocated from NativeMemory; other memory is copied.
  virtual c10::DataPtr from_host(c10::DataPtr&& memory, size_t /*nbytes*/) { return std::move(memory); }

  /// Raises CUDA's error if `error` is the backend's own for memory that it does not have.
  virtual void raise_if_out_of_memory(const c10::Error& /*error*/) {}

  /// Frees what NativeMemory gave to a host kernel; false if it did not.
  virtual bool free_lent(void* /*memory*/) { return false; }

  /// Data types that the backend has no kernels for.
  virtual DtypeSet absent_dtypes() const { return 0; }

  /// Block until everything submitted so far has been done.
  virtual void synchronize() = 0;
  /// This thread has submitted work.
  virtual void note_submission() {}
  /// Synchronize if work was submitted since the last time: the host is about to use the memory.
  virtual void settle() {}

  /// Null where work is done when it was submitted.
  virtual std::unique_ptr<NativeEvent> new_event(bool /*timing*/) { return nullptr; }

  /// A native generator whose stream of numbers is a function of (seed, offset) alone. Valid until this thread's
  /// next call.
  virtual const at::Generator& generator(uint64_t seed, uint64_t offset) = 0;

  virtual const HostFacts& host() const = 0;
};

/// The backend that TORCHDEVICE_BACKEND names, else MPS where it is available, else the CPU. Chosen by the first call,
/// at activation; throws c10::ValueError if the named one does not exist or does not work here.
NativeBackend& native_backend();

/// The CPU, whatever the native backend is.
NativeBackend& host_backend();

}  // namespace torchdevice
