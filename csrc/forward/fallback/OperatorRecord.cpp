// forward/fallback/OperatorRecord.cpp: what is known of an operator's calls: what keeps them from the native backend.

#include "forward/fallback/OperatorRecord.h"

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "forward/Masquerade.h"
#include "forward/fallback/Forced.h"
#include "forward/fallback/NativeKernels.h"
#include "forward/fallback/Remedies.h"
#include "native/Backend.h"

namespace torchdevice::forward {
namespace {

/// Tensors of other layouts are the CPU's work, and so is making them.
bool makes_another_layout(const std::string& name) {
  return name.starts_with("aten::_to_sparse") || name.starts_with("aten::to_sparse");
}

std::mutex records_mutex;
std::map<std::string, std::unique_ptr<OperatorRecord>>& records() {
  static auto* const all = new std::map<std::string, std::unique_ptr<OperatorRecord>>();
  return *all;
}

/// What keeps every call of an operator from the native backend.
Obstacle find_obstacle(const char* name, const char* overload) {
  if (!has_fallback()) {
    return Obstacle::kNone;  // only counted
  }
  const std::string full = full_name(name, overload);
  if (is_forced_to_host(full)) {
    return Obstacle::kForced;
  }
  if (makes_another_layout(full)) {
    return Obstacle::kLayout;
  }
  return has_native_kernel(name, overload) ? Obstacle::kNone : Obstacle::kNoKernel;
}

}  // namespace

OperatorRecord::OperatorRecord(const char* name, const char* overload)
    : name_(full_name(name, overload)), always_(find_obstacle(name, overload)), has_remedy_(has_remedies(name_)) {}

Obstacle OperatorRecord::obstacle_to(const CallKind& call) const noexcept {
  if (always_ != Obstacle::kNone) {
    return always_;
  }
  if (has_remedy_ && remedy_wants_host()) {
    return Obstacle::kKnownWrong;
  }
  if ((call.dtypes() & native_backend().absent_dtypes()) != 0) {
    return Obstacle::kDataType;
  }
  const bool was_refused = refusals_.load(std::memory_order_relaxed) != 0 && answer_to(call.hash()) == Answer::kRefused;
  return was_refused ? Obstacle::kRefused : Obstacle::kNone;
}

Tally& OperatorRecord::note_host_call(Obstacle why) {
  if (!has_fallback()) {
    native.calls.fetch_add(1, std::memory_order_relaxed);
    return native;
  }
  check_fallback(name_, why);
  if (host.calls.fetch_add(1, std::memory_order_relaxed) == 0) {
    first_obstacle_.store(why);
    warn_of_fallback(name_, why);
  }
  return host;
}

void OperatorRecord::note_failure(const std::string& text) {
  if (failure_.load(std::memory_order_relaxed) != nullptr) {
    return;
  }
  const auto* first = new std::string(text);
  const std::string* none = nullptr;
  if (!failure_.compare_exchange_strong(none, first)) {
    delete first;  // another thread was first
  }
}

std::string OperatorRecord::reason() const {
  const Obstacle why = first_obstacle_.load();
  const std::string* failure = failure_.load();
  return describe(why) + (why == Obstacle::kFailed && failure != nullptr ? ": " + *failure : "");
}

OperatorRecord::Answer OperatorRecord::answer_to(uint64_t kind) const noexcept {
  for (const auto& known : kinds_) {
    const uint64_t value = known.load(std::memory_order_relaxed);
    if (value == 0) {
      break;
    }
    if ((value ^ kind) <= 1) {
      return (value & 1U) != 0 ? Answer::kRefused : Answer::kAccepted;
    }
  }
  return Answer::kUnknown;
}

void OperatorRecord::remember(uint64_t kind, Answer answer) noexcept {
  const bool refused = answer == Answer::kRefused;
  if (answer_to(kind) == answer) {
    return;
  }
  const auto slot = answers_.fetch_add(1, std::memory_order_relaxed) % kRemembered;
  kinds_[slot].store((kind & ~uint64_t{1}) | uint64_t{refused}, std::memory_order_relaxed);
  if (refused) {
    refusals_.fetch_add(1, std::memory_order_relaxed);
  }
}

OperatorRecord& operator_record(const char* name, const char* overload) {
  const std::lock_guard guard(records_mutex);
  auto& record = records()[full_name(name, overload)];
  if (record == nullptr) {
    record = std::make_unique<OperatorRecord>(name, overload);
  }
  return *record;
}

std::vector<const OperatorRecord*> operator_records() {
  const std::lock_guard guard(records_mutex);
  std::vector<const OperatorRecord*> all;
  for (const auto& [name, record] : records()) {
    all.push_back(record.get());
  }
  return all;
}

}  // namespace torchdevice::forward
