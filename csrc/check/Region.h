// check/Region.h: the bytes of memory that a tensor covers, as exactly as its strides say.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

#include <cstdint>

namespace torchdevice::check {

/// Runs of bytes at even distances, in as many dimensions as it takes. Empty where the tensor has no elements.
class Region {
 public:
  Region() = default;
  explicit Region(const at::Tensor& tensor);

  bool empty() const noexcept { return begin_ == end_; }
  uintptr_t begin() const noexcept { return begin_; }
  uintptr_t end() const noexcept { return end_; }
  /// Bytes that for_each_run visits.
  uint64_t size() const noexcept {
    uint64_t bytes = run_;
    for (const Step& step : steps_) {
      bytes *= step.count;
    }
    return bytes;
  }
  /// Without gaps.
  bool dense() const noexcept { return steps_.empty(); }
  /// Whether there is a byte that both have.
  bool overlaps(const Region& other) const;
  /// Whether it has every byte of `other`; where that takes a search, false.
  bool covers(const Region& other) const noexcept;

  /// `visit(begin, end)` for each run of bytes.
  template <class Visit>
  void for_each_run(const Visit& visit) const {
    if (!empty()) {
      visit_runs(visit, begin_, steps_.size());
    }
  }

  bool operator==(const Region&) const = default;

 private:
  struct Step {
    uintptr_t stride;
    uintptr_t count;
    bool operator==(const Step&) const = default;
  };
  class Search;

  template <class Visit>
  void visit_runs(const Visit& visit, uintptr_t start, size_t level) const {
    if (level == 0) {
      visit(start, start + run_);
      return;
    }
    const Step& step = steps_[level - 1];
    for (uintptr_t i = 0; i < step.count; ++i) {
      visit_runs(visit, start + i * step.stride, level - 1);
    }
  }

  uintptr_t begin_ = 0;
  uintptr_t end_ = 0;
  uintptr_t run_ = 0;                ///< bytes of the innermost run
  c10::SmallVector<Step, 3> steps_;  ///< the innermost first
};

}  // namespace torchdevice::check
