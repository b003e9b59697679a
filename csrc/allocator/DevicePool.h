// allocator/DevicePool.h: the memory of one CUDA device.

#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <atomic>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "allocator/AdaptiveLock.h"
#include "allocator/AllocatorSettings.h"
#include "allocator/FreeBlocks.h"
#include "allocator/MemoryHistory.h"
#include "allocator/MemoryStats.h"
#include "allocator/PrivatePool.h"
#include "allocator/ThreadBlocks.h"
#include "runtime/Observer.h"

namespace torchdevice {

/// Throws c10::Error with CUDA's text.
[[noreturn]] void raise_invalid_pointer(const void* memory);

/// The algorithm of CUDA's caching allocator: best fit, split, merge with free neighbours. Every figure is what a GPU
/// shows after the same allocations. One class in several files: each group below is headed by the one that has it.
class DevicePool {
 public:
  explicit DevicePool(c10::DeviceIndex device) : device_(device) { update_watched(); }

  c10::DeviceIndex device() const noexcept { return device_; }

  // DevicePool.cpp
  /// Memory for work on `stream`; throws c10::OutOfMemoryError with CUDA's text, the state unharmed.
  void* allocate(size_t nbytes, c10::StreamId stream);
  /// Takes back what this or any other allocate function returned. `segment` is where it lies.
  void free(Segment& segment, void* memory);
  /// `stream` uses the block too: it stays active after its release until the next allocation.
  void record_stream(Segment& segment, const void* memory, c10::StreamId stream);

  // DevicePoolSegments.cpp
  /// Memory straight from the native backend, in no statistics; throws as allocate does.
  void* allocate_uncached(size_t nbytes);
  /// Segments without a live block go back to the native backend: those of the default pool and of every private pool
  /// that nobody uses any more, or those of one such pool.
  void empty_cache(c10::MempoolId_t pool = {0, 0});

  // DevicePoolCustomMemory.cpp
  /// Memory straight from a program's own allocator, in no statistics; `source` must live for ever.
  void* allocate_custom(size_t nbytes, c10::StreamId stream, const CustomAllocator& source);

  // DevicePoolPrivatePools.cpp; CachingAllocator.h says what each does.
  void create_pool(c10::MempoolId_t id, bool splits, std::shared_ptr<const CustomAllocator> source);
  void begin_allocate_to_pool(c10::MempoolId_t id, std::function<bool(c10::StreamId)> filter);
  bool end_allocate_to_pool(c10::MempoolId_t id);
  bool release_pool(c10::MempoolId_t id);
  int pool_use_count(c10::MempoolId_t id);
  bool pool_has_exactly(c10::MempoolId_t id, const std::unordered_set<const void*>& addresses);
  void set_pool_use_on_oom(c10::MempoolId_t id, bool use_on_oom);

  // DevicePoolReports.cpp
  c10::CachingDeviceAllocator::DeviceStats stats();
  void reset_peak_stats();
  void reset_accumulated_stats();
  /// Every segment with its blocks, by address; those of one pool unless that is {0, 0}.
  std::vector<c10::CachingDeviceAllocator::SegmentInfo> snapshot(c10::MempoolId_t pool);

  // DevicePoolLimits.cpp
  /// Limit to `fraction` of the device's memory, in [0, 1].
  void set_fraction(double fraction);
  double fraction();
  /// Bytes free and bytes in total, as cudaMemGetInfo tells them.
  std::pair<size_t, size_t> memory_info();
  /// Called, without the lock, before an allocation fails: device, bytes of the segment that was wanted, bytes that the
  /// process may take in all, bytes that are free.
  using OutOfMemoryObserver = std::function<void(int64_t, size_t, size_t, size_t)>;
  void attach_oom_observer(OutOfMemoryObserver observer);

  // DevicePoolHistory.cpp
  void configure_history(const HistorySettings& settings);
  bool history_enabled();
  std::vector<c10::CachingDeviceAllocator::TraceEntry> trace();
  /// Where the live block that begins at `memory` was allocated; null if that was not recorded.
  Context context_of(const Segment& segment, const void* memory);
  /// False if no live block begins at `memory`.
  bool annotate(const Segment& segment, const void* memory, const std::string& text);

  // DevicePoolContention.cpp
  /// A thread ends, and takes no more part in this.
  void dismiss(ThreadBlocks& thread);
  /// fork: the child starts with the locks free and the blocks consistent.
  void before_fork() noexcept;
  void after_fork() noexcept;

  /// Which neighbours of a block are free.
  struct Neighbours {
    bool left;
    bool right;
  };

 private:
  using Guard = std::lock_guard<AdaptiveLock>;
  /// Lets go of a Guard's lock for its time, also when what it is let go for throws.
  class Unlocked {
   public:
    explicit Unlocked(AdaptiveLock& lock) noexcept : lock_(lock) { lock_.unlock(); }
    ~Unlocked() { lock_.lock(); }
    Unlocked(const Unlocked&) = delete;
    Unlocked& operator=(const Unlocked&) = delete;

   private:
    AdaptiveLock& lock_;
  };

  // Unless said otherwise, all that follows needs lock_ to be held. What is marked *Lets go of the lock* drops it and
  // takes it again, so that blocks and pools may change meanwhile; so does whatever calls it.

  // In this header
  StreamBlocks& stream_blocks(c10::StreamId stream) {
    return stream == last_stream_ ? *last_blocks_ : find_stream_blocks(stream);
  }
  /// The block that was handed out at `memory`; throws if there is none. Needs no lock.
  static Block& allocated_block(const Segment& segment, const void* memory) {
    Block& block = segment.block_at(memory);
    if (block.state != BlockState::kAllocated || block.start != memory) [[unlikely]] {
      raise_invalid_pointer(memory);
    }
    return block;
  }
  /// What was true of blocks when it began is seen by who learns of it here. Needs no lock.
  bool is_contended() const noexcept { return contended_.load(std::memory_order_acquire); }
  /// Before statistics are read, or allocations go another way.
  void settle() {
    end_repetition();
    if (is_contended()) [[unlikely]] {
      end_contention();
    }
  }
  void update_watched() noexcept {
    watched_.store(is_contended() || !routes_.empty() || history_.is_active() || current_observer.load() != nullptr,
                   std::memory_order_relaxed);
  }

  // DevicePool.cpp
  /// See Note [Watched allocations]. Needs no lock.
  bool is_watched() const noexcept;
  /// See Note [Profilers]. Needs no lock.
  static bool is_profiled() noexcept;
  /// *Lets go of the lock* for a new segment, as cut does.
  Block& allocate_block(StreamBlocks& blocks, size_t nbytes);
  /// Likewise, for more than kSmallSize.
  Block& allocate_large(StreamBlocks& blocks, size_t nbytes);
  /// Bytes of the block that lay at `memory`, 0 for memory that went around the cache. *Lets go of the lock* for a
  /// program's own memory, as free_custom does.
  size_t free_block(Segment& segment, const void* memory);
  void free_large(StreamBlocks& blocks, Block& block);
  Block* take_parked(StreamBlocks& blocks, size_t size) noexcept;
  C10_ALWAYS_INLINE bool park(StreamBlocks& blocks, Block& block, Neighbours free) noexcept;
  void unpark(StreamBlocks& blocks) noexcept;
  /// Best fit, and what is left over of it. *Lets go of the lock* if a new segment is needed.
  template <PoolKind kind>
  Block& cut(StreamBlocks& blocks, size_t size);
  template <PoolKind kind>
  void merge(StreamBlocks& blocks, Block& block);
  template <PoolKind kind>
  void count_allocation(Block& block, size_t nbytes) noexcept;
  /// False if the block is not free yet, since another stream has used it.
  template <PoolKind kind>
  bool count_release(Block& block, Neighbours free);
  template <PoolKind kind>
  C10_ALWAYS_INLINE void count_inactive(const Block& block, Neighbours free) noexcept;
  template <PoolKind kind>
  void defer(Block& block);
  void complete_deferred();
  /// Only blocks of that pool.
  void complete_deferred(const PrivatePool* pool);

  // Note [Repetition]
  // A loop over one operator allocates and releases the same block again and again. If the release of a parked block
  // was the last thing that happened and it is asked for again, with the same size, then no statistic changes until it
  // is released again but for the sums of rises and falls. So such rounds are only counted, once a block is parked for
  // the second time in a row; whatever else happens to the device, and whoever reads statistics, ends the repetition.
  // None begins while threads contend: they look at the state of a block without the lock.
  // In such a loop it saves 160 instructions a call: 3 % of `add`, 7 % of `empty`, 1.4 % of the small operators of
  // docs/performance.md. Elsewhere it costs 19 for each block, and 80 to 90 in calls that make several. Whole programs
  // are the same with and without it: 0.04 % fewer to 0.1 % more.
  struct Repetition {
    Block* block = nullptr;
    const void* memory = nullptr;  ///< start of the block
    size_t nbytes = 0;             ///< the request that would repeat, 0 while the block is handed out
    StreamBlocks* owner = nullptr;
    c10::StreamId stream = 0;
    int64_t count = 0;
  };
  void end_repetition() noexcept {
    if (repeat_.block != nullptr) {
      finish_repetition();
    }
  }
  void finish_repetition() noexcept;

  // DevicePoolWatched.cpp. These take the lock themselves.
  void* allocate_watched(size_t nbytes, c10::StreamId stream);
  void* allocate_and_record(size_t nbytes, c10::StreamId stream);
  void free_watched(Segment& segment, void* memory);
  void free_and_record(Segment& segment, void* memory);
  void report(void* memory, int64_t change);

  // DevicePoolContention.cpp; Note [Contention] is in ThreadBlocks.h. The first two take the lock themselves.
  void* allocate_contended(size_t nbytes, c10::StreamId stream);
  void free_contended(Segment& segment, void* memory);
  void begin_contention() noexcept;
  void end_contention();
  /// From here on the calling thread keeps what it releases; nothing as yet.
  void renew_kept_blocks();
  void take_back(ThreadBlocks& thread);

  // DevicePoolSegments.cpp
  StreamBlocks& find_stream_blocks(c10::StreamId stream);
  StreamBlocks& find_stream_blocks(PrivatePool* pool, c10::StreamId stream);
  /// A block of at least `size` bytes from a new segment; throws when there is no memory left. *Lets go of the lock.*
  Block& new_segment(size_t size, StreamBlocks& owner);
  /// *Lets go of the lock* for a program's own memory, as map_segment_from does.
  Block* try_new_segment(size_t segment_size, bool small, StreamBlocks& owner);
  Segment* map_segment(size_t segment_size);
  Segment& new_header();
  void fill_header(Segment& segment, void* base, size_t segment_size) noexcept;
  /// Never throws, as there is room for every header.
  void put_back_header(Segment& segment) noexcept { unused_headers_.push_back(&segment); }
  void unmap_segment(Segment& segment);
  /// *Lets go of the lock* for a program's own memory, as free_custom does.
  void free_uncached(Segment& segment, const void* memory);
  /// *Lets go of the lock* to wait for the native backend, and as release_custom_segments does.
  void release_cached_segments(c10::MempoolId_t pool);
  void release_free_segments(const PrivatePool* pool);
  void release_segment(const Block& block);

  // DevicePoolCustomMemory.cpp
  /// Memory of `source`; *lets go of the lock* to call it.
  Segment* map_segment_from(const CustomAllocator& source, size_t segment_size, c10::StreamId stream);
  /// *Lets go of the lock* to call the segment's custom allocator.
  void free_custom(Segment& segment);
  /// Likewise, for all that are out of use.
  void release_custom_segments();

  // DevicePoolGarbage.cpp
  // Note [Garbage collection]
  // With a memory limit and garbage_collection_threshold set, free whole segments of the default pool's large blocks
  // are given back, the ones longest unused first, once more than that part of the limit is reserved and another
  // segment is needed. A block's age is the number of searches for a large block since it became free.
  bool collects_garbage() const noexcept {
    return allocator_settings.gc_threshold.load(std::memory_order_relaxed) > 0.0 && allowed().has_value();
  }
  void collect_garbage();
  /// Where blocks above max_split_size are not split: gives back one that is at least as large as `size`, or several
  /// that are together; false if there is not enough. *Lets go of the lock* as release_custom_segments does.
  bool release_oversize(StreamBlocks& blocks, size_t size);

  // DevicePoolLimits.cpp
  /// Bytes that the process may take, once a fraction was set.
  std::optional<size_t> allowed() const;
  bool fits(size_t segment_size) const;
  size_t free_memory() const;
  /// *Lets go of the lock* to call the observers.
  [[noreturn]] void raise_out_of_memory(size_t size, size_t segment_size, const StreamBlocks& owner);

  // DevicePoolPrivatePools.cpp
  /// nullptr if there is none of that id.
  PrivatePool* find_private_pool(c10::MempoolId_t id) const;
  /// create_pool, with the lock held.
  PrivatePool& join_private_pool(c10::MempoolId_t id, bool splits, std::shared_ptr<const CustomAllocator> source);
  /// The blocks that this thread's allocations on `stream` come from, private pools considered.
  StreamBlocks& routed_blocks(c10::StreamId stream);
  /// A free block of a private pool that may be used before an allocation fails; nullptr if there is none.
  Block* take_from_private_pools(size_t size, c10::StreamId stream);
  /// Bytes of free blocks that only private pools can hand out.
  size_t free_in_private_pools() const;
  void forget_unused_pools();

  // DevicePoolHistory.cpp
  void record_allocation(const Block& block);
  void record_release(MemoryHistory::Action action, const Segment& segment, const void* memory, size_t requested);
  void record_segment(MemoryHistory::Action action, const Segment& segment);
  void* handle_of(c10::StreamId stream) const;

  AdaptiveLock lock_;
  std::atomic<bool> watched_{false};
  std::atomic<bool> contended_{false};
  Repetition repeat_;
  const Block* last_parked_ = nullptr;
  const c10::DeviceIndex device_;
  c10::StreamId last_stream_ = std::numeric_limits<c10::StreamId>::min();  ///< no stream has this id
  StreamBlocks* last_blocks_ = nullptr;
  MemoryStats stats_;
  std::vector<Block*> deferred_;
  std::vector<ThreadBlocks*> threads_;  ///< all there are
  std::vector<std::unique_ptr<StreamBlocks>> streams_;
  std::vector<std::unique_ptr<PrivatePool>> private_pools_;
  std::vector<Route> routes_;  ///< the latest one that applies counts
  std::vector<Segment*> segments_;
  std::vector<Segment*> unused_headers_;
  size_t headers_ = 0;                     ///< all there are
  std::vector<Segment*> released_custom_;  ///< out of use, but not yet given back to their custom allocator
  uint64_t next_order_ = 0;
  size_t uncached_bytes_ = 0;
  std::optional<double> fraction_;  ///< set_fraction
  uint32_t large_searches_ = 0;     ///< for the default pool
  MemoryHistory history_;
  std::vector<OutOfMemoryObserver> oom_observers_;
};

}  // namespace torchdevice
