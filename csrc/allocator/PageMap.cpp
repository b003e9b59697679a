// allocator/PageMap.cpp: from an address to the segment it lies in.

#include "allocator/PageMap.h"

#include <cstdlib>

namespace torchdevice {

constinit PageMap page_map;

bool PageMap::set(const char* base, size_t size, Segment* segment) noexcept {
  for (size_t offset = 0; offset < size; offset += kSegmentAlignment) {
    const auto page = reinterpret_cast<uintptr_t>(base + offset) >> kPageShift;
    Leaf* leaf = page >> (kRootBits + kLeafBits) == 0 ? leaf_at(page >> kLeafBits) : nullptr;
    if (leaf == nullptr) {
      return false;
    }
    (*leaf)[page & kLeafMask].store(segment, std::memory_order_release);
  }
  return true;
}

PageMap::Leaf* PageMap::leaf_at(size_t index) noexcept {
  Leaf* leaf = root_[index].load(std::memory_order_acquire);
  if (leaf == nullptr) {
    // Zeroed pages are an array of null pointers, and cost nothing until they are used.
    auto* fresh = static_cast<Leaf*>(std::calloc(1, sizeof(Leaf)));
    if (fresh == nullptr) {
      return nullptr;
    }
    if (root_[index].compare_exchange_strong(leaf, fresh, std::memory_order_acq_rel)) {
      return fresh;
    }
    std::free(fresh);
  }
  return leaf;
}

}  // namespace torchdevice
