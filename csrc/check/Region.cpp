// check/Region.cpp: the bytes of memory that a tensor covers, as exactly as its strides say.

#include "check/Region.h"

#include <algorithm>

namespace torchdevice::check {

Region::Region(const at::Tensor& tensor) {
  if (tensor.numel() == 0) {
    return;
  }
  const auto item = static_cast<uintptr_t>(tensor.itemsize());
  c10::SmallVector<Step, 5> dimensions;
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    if (tensor.size(i) > 1 && tensor.stride(i) != 0) {
      dimensions.push_back({static_cast<uintptr_t>(tensor.stride(i)) * item, static_cast<uintptr_t>(tensor.size(i))});
    }
  }
  std::ranges::sort(dimensions, {}, &Step::stride);
  begin_ = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  run_ = item;
  uintptr_t extent = item;
  for (const Step& step : dimensions) {
    if (steps_.empty() && step.stride <= run_) {
      run_ += step.stride * (step.count - 1);
    } else if (!steps_.empty() && step.stride == steps_.back().stride * steps_.back().count) {
      steps_.back().count *= step.count;
    } else {
      steps_.push_back(step);
    }
    extent += step.stride * (step.count - 1);
  }
  end_ = begin_ + extent;
}

/// Whether two regions meet: the one that reaches further is taken apart where the other one lies.
class Region::Search {
 public:
  Search(const Region& a, const Region& b) : a_(a), b_(b) {}

  bool meets() { return meets({&a_, a_.begin_, a_.steps_.size()}, {&b_, b_.begin_, b_.steps_.size()}); }

 private:
  struct Part {
    const Region* whole;
    uintptr_t begin;
    size_t level;

    uintptr_t end() const {
      uintptr_t extent = whole->run_;
      for (size_t i = 0; i < level; ++i) {
        extent += whole->steps_[i].stride * (whole->steps_[i].count - 1);
      }
      return begin + extent;
    }
  };

  bool meets(const Part& a, const Part& b) {
    if (a.begin >= b.end() || b.begin >= a.end()) {
      return false;
    }
    if (a.level == 0 && b.level == 0) {
      return true;
    }
    const bool takes_a = b.level == 0 || (a.level != 0 && a.end() - a.begin >= b.end() - b.begin);
    const Part& taken = takes_a ? a : b;
    const Part& other = takes_a ? b : a;
    const Step& step = taken.whole->steps_[taken.level - 1];
    Part inner{taken.whole, taken.begin, taken.level - 1};
    const uintptr_t extent = inner.end() - inner.begin;
    const uintptr_t first =
        other.begin > taken.begin + extent - 1 ? (other.begin - taken.begin - extent) / step.stride + 1 : 0;
    for (uintptr_t i = first; i < step.count; ++i) {
      inner.begin = taken.begin + i * step.stride;
      if (inner.begin >= other.end()) {
        break;
      }
      // What is not found within this many steps is taken for apart: an alarm must be sure.
      if (--budget_ == 0 || meets(inner, other)) {
        return budget_ != 0;
      }
    }
    return false;
  }

  const Region& a_;
  const Region& b_;
  uint32_t budget_ = 100'000;
};

bool Region::overlaps(const Region& other) const {
  if (begin_ >= other.end_ || other.begin_ >= end_ || empty() || other.empty()) {
    return false;
  }
  return (dense() && other.dense()) || Search(*this, other).meets();
}

bool Region::covers(const Region& other) const noexcept {
  return dense() ? begin_ <= other.begin_ && other.end_ <= end_ : *this == other;
}

}  // namespace torchdevice::check
