// allocator/CachingAllocator.h: CUDA's caching allocator over native memory.

#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "allocator/CustomAllocator.h"
#include "allocator/MemoryHistory.h"

namespace torchdevice {

class CachingAllocator : public c10::DeviceAllocator {
 public:
  /// Memory accounted to cuda:`owner`, carried by a DataPtr that reports `reported`: the CUDA device itself, or the
  /// native one for a result that is still to be adopted. Zero bytes give a null DataPtr.
  virtual c10::DataPtr allocate_on(size_t nbytes, c10::DeviceIndex owner, c10::Device reported) = 0;

  /// Memory outside any DataPtr, for work on `stream`; given back with raw_deallocate. Null for zero bytes.
  virtual void* allocate_for_stream(size_t nbytes, c10::Stream stream) = 0;

  /// Off: every allocation comes from the native backend and goes back to it, without a cache.
  virtual void set_enabled(bool enabled) = 0;
  virtual bool enabled() const = 0;

  /// Limit to a fraction in [0, 1] of the device's memory.
  virtual void set_memory_fraction(double fraction, c10::DeviceIndex device) = 0;
  virtual double memory_fraction(c10::DeviceIndex device) = 0;

  /// Every segment of every device with its blocks; only those of one pool unless that is {0, 0}.
  virtual std::vector<c10::CachingDeviceAllocator::SegmentInfo> snapshot(c10::MempoolId_t pool) = 0;

  /// From now on every allocation goes straight to `custom`, and only statistics of nothing are left: whoever asks for
  /// them gets c10::Error. Throws c10::Error once CUDA has been initialised.
  virtual void set_custom(std::shared_ptr<CustomAllocator> custom) = 0;
  /// Null unless it was set.
  virtual std::shared_ptr<CustomAllocator> custom() const = 0;

  // Memory history (torch.cuda.memory._record_memory_history), of all devices.

  /// Whether it can be recorded, with what the program says of its threads and blocks.
  virtual bool has_history() const = 0;
  virtual void configure_history(const HistorySettings& settings) = 0;
  /// Whether the current device's history is being recorded.
  virtual bool history_enabled() = 0;
  /// A record_function of the program began or ended in this thread; kept while history is recorded.
  virtual void annotate(std::string name, const char* stage) = 0;
  /// In both kinds of entries t_ holds the time, in microseconds since 1970.
  struct Traces {
    std::vector<std::vector<c10::CachingDeviceAllocator::TraceEntry>> devices;
    std::vector<Annotation> annotations;
  };
  virtual Traces traces() = 0;
  /// Where the live block that begins at `memory` was allocated; null if unknown.
  virtual Context context_of(const void* memory) = 0;
  /// The program has something to say of the live block that begins at `memory`: an entry of the history from
  /// torch 2.14 on. Throws c10::Error with CUDA's text if there is none.
  virtual void annotate_block(const void* memory, const std::string& text) = 0;

  /// Called on every device before an allocation fails, with the device, the bytes wanted from the backend, the bytes
  /// that the process may take in all, and the bytes free.
  virtual void attach_oom_observer(const std::function<void(int64_t, size_t, size_t, size_t)>& observer) = 0;

  // Private pools: memory that only chosen allocations are served from. They follow c10::cuda::CUDACachingAllocator.

  /// Makes a pool with one user, or adds a user to the one with that id. For a new pool `splits` false says that its
  /// segments are handed out whole, and `source`, unless null, where its memory comes from. Throws c10::Error for a
  /// pool that has lost its last user, and if there already is one with a source.
  virtual void create_pool(c10::DeviceIndex device, c10::MempoolId_t id, bool splits,
                           std::shared_ptr<const CustomAllocator> source) = 0;

  /// From now on allocations on `device` come from pool `id`, on any thread, if `filter` says true of the stream that
  /// they are made for; the route begun last comes first. Counts as one more user, and makes the pool if need be.
  /// Throws c10::Error, and changes nothing, if there is a route to the pool. `filter` runs under a lock, in the
  /// allocating thread, and must not allocate.
  virtual void begin_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id,
                                      std::function<bool(c10::StreamId)> filter) = 0;
  /// Ends that route; the user stays until release_pool. False when there is none.
  virtual bool end_allocate_to_pool(c10::DeviceIndex device, c10::MempoolId_t id) = 0;

  /// One user less; false if there was none. Once there is none, emptyCache gives the pool's free segments back, and
  /// forgets an empty pool.
  virtual bool release_pool(c10::DeviceIndex device, c10::MempoolId_t id) = 0;
  /// 0 for a pool that does not exist.
  virtual int pool_use_count(c10::DeviceIndex device, c10::MempoolId_t id) = 0;

  /// Whether the blocks that the pool has handed out begin at `addresses`, and nowhere else. Throws c10::Error for a
  /// pool that does not exist.
  virtual bool pool_has_exactly(c10::DeviceIndex device, c10::MempoolId_t id,
                                const std::unordered_set<const void*>& addresses) = 0;

  /// Whether the pool's free blocks may serve other allocations that would fail. Nothing for a pool that does not
  /// exist.
  virtual void set_pool_use_on_oom(c10::DeviceIndex device, c10::MempoolId_t id, bool use_on_oom) = 0;
};

/// The process's allocator; never destroyed, so that tensors may outlive interpreter exit.
CachingAllocator& caching_allocator();

/// Throws c10::Error with CUDA's text for a device that there is not.
void check_allocator_device(c10::DeviceIndex device);

/// The device whose memory `pointer` lies in; interior pointers count. Takes no lock.
std::optional<c10::DeviceIndex> owner_of(const void* pointer);

/// The pool whose segment `pointer` lies in, {0, 0} for the default pool; interior pointers count. Takes no lock.
std::optional<c10::MempoolId_t> pool_of(const void* pointer);

/// A fresh pool's id: {0, n} for one that a user asked for (torch.cuda.MemPool, graph_pool_handle()), {n, 0} for one
/// that a CUDA graph makes for itself.
c10::MempoolId_t graph_pool_handle(bool is_user_created = true);

/// Frees memory of the caching allocator. Throws c10::Error with CUDA's text for what it has not handed out.
void release_cuda_memory(void* memory);

/// As release_cuda_memory, but warns: the deleter in DataPtrs, whose context is the memory itself. Programs can release
/// memory under a tensor, which must not end the process when the tensor ends.
void free_cuda_memory(void* memory) noexcept;

}  // namespace torchdevice
