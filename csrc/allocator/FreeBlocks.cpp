// allocator/FreeBlocks.cpp: the free blocks of one stream, found by best fit.

#include "allocator/FreeBlocks.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "allocator/AllocatorSettings.h"
#include "allocator/ForeignSegments.h"

namespace torchdevice {

bool comes_before(const Block& a, const Block& b) noexcept {
  const Segment* segment_a = find_segment(a.start);
  const Segment* segment_b = find_segment(b.start);
  return segment_a == segment_b ? a.start < b.start : segment_a->order < segment_b->order;
}

// A pairing heap: Fredman, Sedgewick, Sleator and Tarjan, "The pairing heap: a new form of self-adjusting heap", 1986.

Block* SmallBlocks::meld(Block* a, Block* b) noexcept {
  if (comes_before(*b, *a)) {
    std::swap(a, b);
  }
  b->sibling = a->child;
  if (a->child != nullptr) {
    a->child->back = b;
  }
  b->back = a;
  a->child = b;
  return a;
}

Block* SmallBlocks::meld_siblings(Block* eldest) noexcept {
  Block* pairs = nullptr;  // linked by `sibling`, the last one first
  while (eldest != nullptr) {
    Block* first = eldest;
    Block* second = first->sibling;
    eldest = second != nullptr ? second->sibling : nullptr;
    first->sibling = nullptr;
    if (second != nullptr) {
      second->sibling = nullptr;
      first = meld(first, second);
    }
    first->sibling = pairs;
    pairs = first;
  }
  Block* root = nullptr;
  while (pairs != nullptr) {
    Block* heap = std::exchange(pairs, pairs->sibling);
    heap->sibling = nullptr;
    root = root != nullptr ? meld(root, heap) : heap;
  }
  if (root != nullptr) {
    root->back = nullptr;
  }
  return root;
}

void SmallBlocks::remove_from_heap(Block*& root, Block& block) noexcept {
  Block* children = meld_siblings(block.child);
  if (root == &block) {
    root = children;
    return;
  }
  if (block.back->child == &block) {
    block.back->child = block.sibling;
  } else {
    block.back->sibling = block.sibling;
  }
  if (block.sibling != nullptr) {
    block.sibling->back = block.back;
  }
  if (children != nullptr) {
    root = meld(root, children);
  }
}

Block* LargeBlocks::take(size_t size) {
  const auto best = blocks_.lower_bound(size);
  if (best == blocks_.end()) {
    return nullptr;
  }
  const size_t max_split = allocator_settings.max_split_size.load(std::memory_order_relaxed);
  if (size < max_split ? (*best)->size >= max_split
                       : (*best)->size >= size + allocator_settings.max_non_split_rounding) {
    return nullptr;
  }
  Block* block = *best;
  blocks_.erase(best);
  return block;
}

Block* LargeBlocks::take_segment() {
  const auto is_segment = [](const Block* block) { return !block->is_split(); };
  const auto first = std::ranges::find_if(blocks_, is_segment);
  return first != blocks_.end() ? take_at(first) : nullptr;
}

Block* LargeBlocks::take_segment(size_t size, size_t least) {
  for (auto it = blocks_.lower_bound(size); it != blocks_.end(); ++it) {
    if (!(*it)->is_split()) {
      return take_at(it);
    }
  }
  for (auto it = blocks_.end(); it != blocks_.begin() && (*std::prev(it))->size >= least;) {
    --it;
    if (!(*it)->is_split()) {
      return take_at(it);
    }
  }
  return nullptr;
}

std::vector<Block*> LargeBlocks::segments() const {
  std::vector<Block*> result;
  std::ranges::copy_if(blocks_, std::back_inserter(result), [](const Block* block) { return !block->is_split(); });
  return result;
}

}  // namespace torchdevice
