// allocator/MemoryHistory.cpp: what torch.cuda.memory._record_memory_history records of one device.

#include "allocator/MemoryHistory.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <new>
#include <string_view>

#include "versions/Versions.h"

namespace torchdevice {

using c10::CachingDeviceAllocator::TraceEntry;

namespace {

constexpr std::array<std::pair<std::string_view, MemoryHistory::Action>, 7> kSkippable{{
    {"alloc", TraceEntry::ALLOC},
    {"free_requested", TraceEntry::FREE_REQUESTED},
    {"free_completed", TraceEntry::FREE_COMPLETED},
    {"segment_alloc", TraceEntry::SEGMENT_ALLOC},
    {"segment_free", TraceEntry::SEGMENT_FREE},
    {"oom", TraceEntry::OOM},
    {"snapshot", TraceEntry::SNAPSHOT},
}};

uint32_t bit(MemoryHistory::Action action) noexcept { return uint32_t{1} << static_cast<unsigned>(action); }

}  // namespace

ThreadHistory& thread_history() {
  // Behind a pointer, as the module's thread-locals must be few.
  thread_local const auto history = std::make_unique<ThreadHistory>();
  return *history;
}

ThreadHistory* find_thread_history() noexcept {
  try {
    return &thread_history();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void MemoryHistory::configure(const HistorySettings& settings) {
  TORCH_CHECK(settings.when == Level::NEVER || settings.recorder != nullptr);
  enabled_ = settings.enabled;
  recorder_ = settings.enabled ? settings.recorder : nullptr;
  when_ = settings.enabled ? settings.when : Level::NEVER;
  skipped_actions_ = 0;
  for (const std::string& name : settings.skip_actions) {
    // CUDA's allocator ignores names that it does not know.
    const auto* known = std::ranges::find(kSkippable, name, &decltype(kSkippable)::value_type::first);
    skipped_actions_ |= known != kSkippable.end() ? bit(known->second) : 0;
  }
  max_entries_ = std::max<size_t>(settings.max_entries, 1);
  if (!settings.enabled || settings.clear || entries_.size() > max_entries_) {
    entries_.clear();
    next_ = 0;
  }
}

Context MemoryHistory::gather(Level level) const noexcept {
  const auto recorder = when_.load() >= level ? recorder_.load() : nullptr;
  try {
    return recorder != nullptr ? recorder() : nullptr;
  } catch (const std::exception&) {
    return nullptr;
  }
}

void MemoryHistory::record(Action action, c10::DeviceIndex device, size_t address, size_t size, void* stream,
                           c10::MempoolId_t pool, Context context) noexcept {
  if (!enabled_ || (skipped_actions_ & bit(action)) != 0) {
    return;
  }
  try {
    add_entry(action, device, address, size, stream, pool, std::move(context));
    // NOLINTNEXTLINE(bugprone-empty-catch): see Note [History without memory]
  } catch (const std::bad_alloc&) {
  }
}

void MemoryHistory::add_entry(Action action, c10::DeviceIndex device, size_t address, size_t size, void* stream,
                              c10::MempoolId_t pool, Context context) {
  const ThreadHistory& thread = thread_history();
  TraceEntry entry(action, device, address, size, stream, pool, c10::getApproximateTime(),
                   when_.load() >= Level::ALLOC ? std::move(context) : nullptr,
                   thread.compile_contexts.empty() ? "N/A" : thread.compile_contexts.back(), thread.user_metadata);
  if (entries_.size() < max_entries_) {
    entries_.push_back(std::move(entry));
  } else {
    entries_[next_] = std::move(entry);
    next_ = (next_ + 1) % max_entries_;
  }
}

void MemoryHistory::annotate(c10::DeviceIndex device, size_t address, size_t size, void* stream, c10::MempoolId_t pool,
                             Context context, const std::string& text) {
  if (constexpr auto kAnnotation = versions::annotation<TraceEntry>(); kAnnotation.has_value()) {
    const std::string before = std::exchange(thread_history().user_metadata, text);
    record(*kAnnotation, device, address, size, stream, pool, std::move(context));
    thread_history().user_metadata = before;
  }
}

void MemoryHistory::keep(const void* address, bool segment, Context context) noexcept {
  if (context == nullptr) {
    return;
  }
  try {
    contexts_[key(address, segment)] = std::move(context);
    // NOLINTNEXTLINE(bugprone-empty-catch): see Note [History without memory]
  } catch (const std::bad_alloc&) {
  }
}

Context MemoryHistory::find(const void* address, bool segment) const {
  const auto known = contexts_.find(key(address, segment));
  return known != contexts_.end() ? known->second : nullptr;
}

void MemoryHistory::forget(const void* address, bool segment) { contexts_.erase(key(address, segment)); }

std::vector<TraceEntry> MemoryHistory::trace() const {
  std::vector<TraceEntry> result;
  result.reserve(entries_.size());
  const auto oldest = entries_.begin() + static_cast<std::ptrdiff_t>(next_);
  result.insert(result.end(), oldest, entries_.end());
  result.insert(result.end(), entries_.begin(), oldest);
  return result;
}

void AnnotationLog::configure(const HistorySettings& settings) {
  const std::lock_guard guard(lock_);
  enabled_ = settings.enabled;
  max_entries_ = std::max<size_t>(settings.max_entries, 1);
  entries_.clear();
}

void AnnotationLog::add(c10::DeviceIndex device, std::string name, const char* stage) {
  const std::lock_guard guard(lock_);
  if (!enabled_) {
    return;
  }
  if (entries_.size() == max_entries_) {
    entries_.pop_front();
  }
  entries_.push_back({device, {.approx_t_ = c10::getApproximateTime()}, std::move(name), stage});
}

std::vector<Annotation> AnnotationLog::list() {
  const std::lock_guard guard(lock_);
  return {entries_.begin(), entries_.end()};
}

}  // namespace torchdevice
