// forward/Choice.h: native backend or CPU, operator by operator; where the native backend is the CPU nobody asks.

#pragma once

#include <c10/util/FunctionRef.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "forward/Call.h"
#include "forward/Report.h"

namespace torchdevice::forward {

// Note [Falling back to the CPU]
// A call runs on the CPU, over the same memory, if its operator has no kernel of the native backend, if one of its
// data types does not exist there, or if the backend has refused a call of its kind before. Otherwise it runs natively;
// if the kernel then says that it cannot (forward/Refusal.h) the call is made again on the CPU, and calls of its kind
// go there from then on. Any other error is the user's.
// An operator that writes to its arguments is run natively for the first time of each kind on saved arguments, which
// a refusal puts back: nothing is applied by half.
// The CPU waits for the native backend only if work was submitted since somebody last waited: going over costs a wait,
// staying there does not.

/// What is known of an operator. Lives for ever; every thread uses it without a lock.
class OperatorRecord {
 public:
  OperatorRecord(const char* name, const char* overload);

  const std::string& name() const noexcept { return name_; }

  /// What keeps calls like this one from the native backend.
  Obstacle obstacle_to(const Call& call) const noexcept;

  /// What the backend said to a call of that kind.
  enum class Answer : uint8_t { unknown, accepted, refused };
  Answer answer_to(uint64_t kind) const noexcept;
  void remember(uint64_t kind, Answer answer) noexcept;

  /// A call is about to run on the CPU: a fallback, where that is not the native backend. Returns where its cost
  /// counts; throws where TORCHDEVICE_FALLBACK forbids it.
  Tally& note_host_call(Obstacle why);
  /// Why the first of those did.
  Obstacle first_obstacle() const noexcept { return first_obstacle_.load(); }

  Tally native;
  Tally host;

 private:
  /// More kinds than that, and the oldest is forgotten: asking once more is slow, not wrong.
  static constexpr size_t kRemembered = 16;

  const std::string name_;
  Obstacle always_;  ///< what keeps every call from the native backend
  std::atomic<Obstacle> first_obstacle_{Obstacle::none};
  std::atomic<uint32_t> answers_{0};
  std::atomic<uint32_t> refusals_{0};
  std::array<std::atomic<uint64_t>, kRemembered> kinds_{};  ///< the lowest bit says refused
};

/// The record of that operator, made by the first call.
OperatorRecord& operator_record(const char* name, const char* overload);

/// Runs `kernel` for the native backend or, with the thread's aliases on the CPU, for the CPU; see Note [Falling back
/// to the CPU]. It may be called twice, and must not have changed anything but written arguments when it throws.
void run_chosen(OperatorRecord& record, const Call& call, c10::function_ref<void()> kernel);

/// Runs `kernel` with the thread's aliases on the CPU, after everything that was submitted, and counts it; where the
/// native backend is the CPU, as a native call.
void run_on_host(OperatorRecord& record, Obstacle why, const Call& call, c10::function_ref<void()> kernel);
/// The same for what is no operator.
void run_on_host(c10::function_ref<void()> kernel);

/// Every operator that has run, for the report.
std::vector<const OperatorRecord*> operator_records();

}  // namespace torchdevice::forward
