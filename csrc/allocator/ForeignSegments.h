// allocator/ForeignSegments.h: from an address to the segment it lies in, for memory that is not the native backend's.

#pragma once

#include <map>

#include "allocator/AdaptiveLock.h"
#include "allocator/PageMap.h"

namespace torchdevice {

/// Segments from a CustomAllocator. They lie anywhere, so the page map cannot hold them; but never in a page that it
/// does hold, since those are all the native backend's.
class ForeignSegments {
 public:
  Segment* find(const void* address) noexcept;
  void add(Segment& segment);
  void remove(const Segment& segment);

  void before_fork() noexcept { lock_.lock(); }
  void after_fork() noexcept { lock_.unlock(); }

 private:
  AdaptiveLock lock_;
  std::map<const char*, Segment*> by_base_;
};

ForeignSegments& foreign_segments();

Segment* find_foreign_segment(const void* address) noexcept;

/// The segment that `address` lies in. Takes no lock unless there are foreign segments.
inline Segment* find_segment(const void* address) noexcept {
  Segment* segment = page_map.find(address);
  return segment != nullptr ? segment : find_foreign_segment(address);
}

}  // namespace torchdevice
