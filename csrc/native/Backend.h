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
#include <vector>

#include "native/Dtypes.h"

namespace torchdevice {

class CachingAllocator;
}  // namespace torchdevice

namespace c10 {
class KernelFunction;
class OperatorHandle;
struct IValue;
}  // namespace c10

namespace torchdevice {

/// Segments start and end at multiples of this, so that an address leads to its segment by a shift.
inline constexpr size_t kSegmentAlignment = size_t{2} << 20U;

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

/// What using the host beside the backend has cost so far.
struct NativeCounts {
  uint64_t synchronizations = 0;  ///< every wait for the backend
  uint64_t transitions = 0;       ///< those made because the host's turn came
  uint64_t waited_nanoseconds = 0;
  uint64_t copied_bytes = 0;  ///< results of host kernels that lay elsewhere
};

/// A call on CUDA tensors that the backend may get wrong.
class DoubtfulCall {
 public:
  virtual ~DoubtfulCall() = default;

  virtual const c10::OperatorHandle& op() const = 0;
  /// Its arguments; when it is done, its results.
  virtual std::vector<c10::IValue>& stack() = 0;
  /// The next rule for this operator, after the last one the kernel.
  virtual void go_on() = 0;
  /// The CPU's kernel.
  virtual void go_to_host() = 0;
};

/// A rule for what the backend is known to do wrong. Only calls of its operators meet it.
struct KnownWrong {
  /// Makes a kernel that tells ordinary calls from doubtful ones, so that the former need not be boxed.
  using Guard = c10::KernelFunction (*)(const c10::KernelFunction& ordinary, const c10::KernelFunction& doubtful);
  struct Operator {
    std::string name;  ///< in full: "aten::mm.out"
    Guard guard = nullptr;
  };

  std::vector<Operator> operators;
  std::string what;
  std::string instead;  ///< what is done
  std::string source;   ///< where that is known from
  void (*run)(DoubtfulCall& call);
};

/// One native backend per process. This is all that the rest of the engine knows of the machine: what only one backend
/// needs stands in its folder. docs/backends.md says how to add one.
class NativeBackend {
 public:
  virtual ~NativeBackend() = default;

  /// The device type's name in torch, which is the value of TORCHDEVICE_BACKEND: "cpu".
  virtual const char* name() const = 0;
  /// For people, in messages and reports: "CPU".
  virtual const char* title() const = 0;
  /// The device that aliases claim to live on while a native kernel runs.
  virtual c10::Device device() const = 0;
  /// The backend bit that takes CUDA's place in a key set.
  virtual c10::BackendComponent component() const = 0;

  /// A fresh segment of native memory; nullptr when the system has none left. `nbytes` is a multiple of
  /// kSegmentAlignment and so is the address, below 2^48: what lies in between belongs to no other segment.
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
  /// Bytes of the buffer of that allocator which `memory` is; 0 if it is none.
  virtual size_t buffer_size(const void* /*memory*/) const { return 0; }
  bool owns(const void* memory) const { return buffer_size(memory) != 0; }
  /// Where the host finds memory that `memory` is the backend's name for.
  virtual void* host_address(void* memory) { return memory; }
  /// The backend's name for what a host kernel allocated from CpuAllocator; other memory is copied.
  virtual c10::DataPtr from_host(c10::DataPtr&& memory, size_t /*nbytes*/) { return std::move(memory); }

  /// Raises CUDA's error if `error` is the backend's own for memory that it does not have.
  virtual void raise_if_out_of_memory(const c10::Error& /*error*/) {}

  /// Frees what CpuAllocator gave to a host kernel; false if it did not.
  virtual bool free_lent(void* /*memory*/) { return false; }

  /// Data types that the backend has no kernels for.
  virtual DtypeSet absent_dtypes() const { return 0; }
  /// Whether a native kernel threw `error` because the backend lacks the operator, the data type or the mode.
  virtual bool is_refusal(const c10::Error& /*error*/) const { return false; }
  /// Of a refusal: whether it is about sizes, so that other calls of the same kind may be accepted.
  virtual bool refuses_by_size(const c10::Error& /*error*/) const { return false; }
  /// What the backend gets wrong on this machine, and what is done instead.
  virtual std::vector<KnownWrong> known_wrong() const { return {}; }
  /// Whether the host's kernel serves better, though the backend has one too. Of a full name: "aten::mul.Tensor".
  virtual bool prefers_host(const std::string& /*name*/) const { return false; }

  /// Block until everything submitted so far has been done.
  virtual void synchronize() = 0;
  /// This thread has submitted work.
  virtual void note_submission() {}
  /// Synchronize if work was submitted since the last time: the host is about to use the memory.
  virtual void settle() {}
  virtual NativeCounts counts() const { return {}; }

  /// Null where work is done when it was submitted.
  virtual std::unique_ptr<NativeEvent> new_event(bool /*timing*/) { return nullptr; }

  /// A native generator whose stream of numbers is a function of (seed, offset) alone. Valid until this thread's
  /// next call.
  virtual const at::Generator& generator(uint64_t seed, uint64_t offset) = 0;

  virtual const HostFacts& host() const = 0;
};

/// A backend as the choice among them sees it. One constant object in the backend's folder registers it.
class RegisteredBackend {
 public:
  struct Entry {
    const char* name;         ///< as NativeBackend::name()
    const char* title;        ///< as NativeBackend::title()
    int rank;                 ///< of those available, the one with the highest rank is the default
    bool (*is_available)();   ///< whether this torch, on this machine, has it
    const char* requirement;  ///< what it takes, for the error where it is named and not available
    NativeBackend& (*make)();
    /// Null, or what must be done wherever torch has the device, also if another backend works. Returns what undoes it.
    std::function<void()> (*prepare)();
  };

  explicit RegisteredBackend(const Entry& entry) noexcept : entry_(entry), next_(std::exchange(first_, this)) {}
  RegisteredBackend(const RegisteredBackend&) = delete;
  RegisteredBackend& operator=(const RegisteredBackend&) = delete;

  /// All of them, the highest rank first.
  static std::vector<Entry> all();

 private:
  static inline constinit const RegisteredBackend* first_ = nullptr;

  const Entry entry_;
  const RegisteredBackend* const next_;
};

/// The backend that TORCHDEVICE_BACKEND names, else the available one with the highest rank. Chosen by the first call,
/// at activation; throws c10::ValueError if the named one does not exist or does not work here.
NativeBackend& native_backend();

/// The CPU, whatever the native backend is.
NativeBackend& host_backend();

/// Every backend's `prepare`, at activation; returns what undoes them all.
std::function<void()> prepare_backends();

}  // namespace torchdevice
