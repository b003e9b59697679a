// allocator/PageMap.h: from an address to the segment it lies in.

#pragma once

#include <array>
#include <atomic>

#include "allocator/Block.h"

namespace torchdevice {

/// A two-level table over the 48 bits of user addresses. Reading takes no lock.
class PageMap {
 public:
  Segment* find(const void* address) const noexcept {
    const auto page = reinterpret_cast<uintptr_t>(address) >> kPageShift;
    if (page >> (kRootBits + kLeafBits) != 0) [[unlikely]] {
      return nullptr;
    }
    const Leaf* leaf = root_[page >> kLeafBits].load(std::memory_order_acquire);
    return leaf != nullptr ? (*leaf)[page & kLeafMask].load(std::memory_order_acquire) : nullptr;
  }

  /// Every page of [base, base + size) leads to `segment` from now on; nullptr forgets them. False when the host has
  /// no memory for the table; some of the pages may be set then.
  bool set(const char* base, size_t size, Segment* segment) noexcept;

 private:
  static constexpr uint32_t kPageShift = std::countr_zero(kSegmentAlignment);
  static constexpr uint32_t kLeafBits = 14;
  static constexpr uint32_t kRootBits = 48 - kPageShift - kLeafBits;
  static constexpr uintptr_t kLeafMask = (uintptr_t{1} << kLeafBits) - 1;
  using Leaf = std::array<std::atomic<Segment*>, size_t{1} << kLeafBits>;

  Leaf* leaf_at(size_t index) noexcept;

  std::array<std::atomic<Leaf*>, size_t{1} << kRootBits> root_{};
};

/// The process's page map.
extern constinit PageMap page_map;

}  // namespace torchdevice
