// allocator/MemoryHistory.h: what torch.cuda.memory._record_memory_history records of one device.

#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "allocator/AdaptiveLock.h"

namespace torchdevice {

/// Where in the program something happened.
using Context = std::shared_ptr<c10::GatheredContext>;

/// How torch.cuda.memory._record_memory_history was called.
struct HistorySettings {
  bool enabled = false;
  c10::CachingDeviceAllocator::CreateContextFn recorder = nullptr;
  size_t max_entries = 1;  ///< of the trace of one device; older entries give way
  c10::CachingDeviceAllocator::RecordContext when = c10::CachingDeviceAllocator::RecordContext::NEVER;
  bool clear = false;  ///< forget what was recorded; done in any case when not enabled
  std::vector<std::string> skip_actions;
};

/// The trace of a device's allocator and the contexts of its live blocks and segments. All but gather() under the
/// lock of the device.
class MemoryHistory {
 public:
  using Action = c10::CachingDeviceAllocator::TraceEntry::Action;
  using Level = c10::CachingDeviceAllocator::RecordContext;

  void configure(const HistorySettings& settings);
  bool enabled() const noexcept { return enabled_; }
  /// Whether allocations and releases must be told: also after the end of recording, while contexts of live blocks are
  /// kept.
  bool is_active() const noexcept { return enabled_ || !contexts_.empty(); }

  // Note [History without memory]
  // Memory is released in destructors, and an allocation that succeeded is handed out. So where the host has no memory
  // left for the history, the history has a gap: these three never throw.

  /// The calling thread's context, if contexts of that level are wanted; null otherwise. Takes Python's lock.
  Context gather(Level level) const noexcept;

  void record(Action action, c10::DeviceIndex device, size_t address, size_t size, void* stream, c10::MempoolId_t pool,
              Context context) noexcept;
  /// The block that begins at `address` was annotated by the program: an entry with that text and the place where it
  /// happened. Nothing before torch 2.14, which has no such entries.
  void annotate(c10::DeviceIndex device, size_t address, size_t size, void* stream, c10::MempoolId_t pool,
                Context context, const std::string& text);
  /// Remember, or find, the context of the block or segment (`segment` true) that begins at `address`.
  void keep(const void* address, bool segment, Context context) noexcept;
  Context find(const void* address, bool segment) const;
  void forget(const void* address, bool segment);

  /// Oldest first.
  std::vector<c10::CachingDeviceAllocator::TraceEntry> trace() const;

 private:
  void add_entry(Action action, c10::DeviceIndex device, size_t address, size_t size, void* stream,
                 c10::MempoolId_t pool, Context context);
  // A segment begins where its first block does, so the two kinds are told apart by an odd key.
  static uintptr_t key(const void* address, bool segment) noexcept {
    return reinterpret_cast<uintptr_t>(address) | static_cast<uintptr_t>(segment);
  }

  bool enabled_ = false;
  std::atomic<c10::CachingDeviceAllocator::CreateContextFn> recorder_{nullptr};
  std::atomic<Level> when_{Level::NEVER};
  uint32_t skipped_actions_ = 0;
  size_t max_entries_ = 1;
  size_t next_ = 0;  ///< the oldest entry, once the trace is full
  std::vector<c10::CachingDeviceAllocator::TraceEntry> entries_;
  std::unordered_map<uintptr_t, Context> contexts_;
};

/// A record_function of the program began or ended.
struct Annotation {
  c10::DeviceIndex device;  ///< current then
  c10::CachingDeviceAllocator::trace_time_ time;
  std::string name;
  const char* stage;  ///< "START" or "END"
};

/// The latest annotations of all devices.
class AnnotationLog {
 public:
  void configure(const HistorySettings& settings);
  void add(c10::DeviceIndex device, std::string name, const char* stage);
  std::vector<Annotation> list();

  void before_fork() noexcept { lock_.lock(); }
  void after_fork() noexcept { lock_.unlock(); }

 private:
  AdaptiveLock lock_;
  bool enabled_ = false;
  size_t max_entries_ = 1;
  std::deque<Annotation> entries_;
};

/// What the calling thread adds to its entries.
struct ThreadHistory {
  Context context;                            ///< of the call into the allocator that is under way
  std::vector<std::string> compile_contexts;  ///< compiled regions that it is in, the innermost last
  std::string user_metadata;
};
ThreadHistory& thread_history();
/// Null where the host has no memory for a first one.
ThreadHistory* find_thread_history() noexcept;

/// The context of a call into the allocator, for its time.
class HistoryScope {
 public:
  explicit HistoryScope(Context context) noexcept
      : thread_(find_thread_history()),
        before_(thread_ != nullptr ? std::exchange(thread_->context, std::move(context)) : nullptr) {}
  ~HistoryScope() {
    if (thread_ != nullptr) {
      thread_->context = std::move(before_);
    }
  }
  HistoryScope(const HistoryScope&) = delete;
  HistoryScope& operator=(const HistoryScope&) = delete;

 private:
  ThreadHistory* thread_;
  Context before_;
};

}  // namespace torchdevice
