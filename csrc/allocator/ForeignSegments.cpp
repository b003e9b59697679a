// allocator/ForeignSegments.cpp: from an address to the segment it lies in, for memory that is not the native
// backend's.

#include "allocator/ForeignSegments.h"

#include <atomic>
#include <iterator>
#include <mutex>

namespace torchdevice {
namespace {

constinit std::atomic<bool> any{false};

}  // namespace

ForeignSegments& foreign_segments() {
  static auto* const segments = new ForeignSegments();
  return *segments;
}

Segment* find_foreign_segment(const void* address) noexcept {
  return any.load(std::memory_order_acquire) ? foreign_segments().find(address) : nullptr;
}

Segment* ForeignSegments::find(const void* address) noexcept {
  const auto* place = static_cast<const char*>(address);
  const std::lock_guard guard(lock_);
  const auto next = by_base_.upper_bound(place);
  if (next == by_base_.begin()) {
    return nullptr;
  }
  Segment* segment = std::prev(next)->second;
  return place < segment->base + segment->size ? segment : nullptr;
}

void ForeignSegments::add(Segment& segment) {
  const std::lock_guard guard(lock_);
  by_base_.emplace(segment.base, &segment);
  any.store(true, std::memory_order_release);
}

void ForeignSegments::remove(const Segment& segment) {
  const std::lock_guard guard(lock_);
  by_base_.erase(segment.base);
  any.store(!by_base_.empty(), std::memory_order_release);
}

}  // namespace torchdevice
