// forward/fallback/OperatorRecord.h: what is known of an operator's calls: what keeps them from the native backend.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "forward/fallback/CallKind.h"
#include "forward/fallback/FallbackPolicy.h"
#include "forward/fallback/Tally.h"

namespace torchdevice::forward {

/// What is known of an operator. Lives for ever; every thread uses it without a lock.
class OperatorRecord {
 public:
  OperatorRecord(const char* name, const char* overload);

  const std::string& name() const noexcept { return name_; }

  /// What keeps calls like this one from the native backend.
  Obstacle obstacle_to(const CallKind& call) const noexcept;

  /// What the backend said to a call of that kind.
  enum class Answer : uint8_t { kUnknown, kAccepted, kRefused };
  Answer answer_to(uint64_t kind) const noexcept;
  void remember(uint64_t kind, Answer answer) noexcept;

  /// A call is about to run on the CPU: a fallback, where that is not the native backend. Returns where its cost
  /// counts; throws where TORCHDEVICE_FALLBACK forbids it.
  Tally& note_host_call(Obstacle why);
  /// Why the first of those did, for people; empty if there was none.
  std::string reason() const;

  /// The text of an error by which the backend failed where the CPU did not.
  void note_failure(const std::string& text);
  /// A refusal was about sizes: whoever calls it again may be refused too.
  void note_refusal_by_size() noexcept { refuses_by_size_.store(true, std::memory_order_relaxed); }
  bool refuses_by_size() const noexcept { return refuses_by_size_.load(std::memory_order_relaxed); }

  Tally native;
  Tally host;

 private:
  /// More kinds than that, and the oldest is forgotten: asking once more is slow, not wrong.
  static constexpr size_t kRemembered = 16;

  const std::string name_;
  Obstacle always_;        ///< what keeps every call from the native backend
  const bool has_remedy_;  ///< there are calls that the backend gets wrong
  std::atomic<bool> refuses_by_size_{false};
  std::atomic<const std::string*> failure_{nullptr};  ///< the first; never freed
  std::atomic<Obstacle> first_obstacle_{Obstacle::kNone};
  std::atomic<uint32_t> answers_{0};
  std::atomic<uint32_t> refusals_{0};
  std::array<std::atomic<uint64_t>, kRemembered> kinds_{};  ///< the lowest bit says refused
};

/// The record of that operator, made by the first call.
OperatorRecord& operator_record(const char* name, const char* overload);

/// Every operator that has run, for the report.
std::vector<const OperatorRecord*> operator_records();

}  // namespace torchdevice::forward
