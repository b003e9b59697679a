// allocator/FreeBlocks.h: the free blocks of one stream, found by best fit.

#pragma once

#include <c10/core/Stream.h>

#include <array>
#include <bit>
#include <set>
#include <vector>

#include "allocator/Block.h"

namespace torchdevice {

/// Order among blocks of one size: CUDA takes the lowest address first.
bool comes_before(const Block& a, const Block& b) noexcept;

/// Free blocks of small segments: one heap for each of the 4096 sizes, and bitmaps of those that are not empty.
class SmallBlocks {
 public:
  void insert(Block& block) noexcept {
    const size_t size_class = class_of(block.size);
    Block*& root = roots_[size_class];
    block.child = block.sibling = block.back = nullptr;
    if (root == nullptr) [[likely]] {
      root = &block;
      words_[size_class / 64] |= uint64_t{1} << (size_class % 64);
      summary_ |= uint64_t{1} << (size_class / 64);
    } else {
      root = meld(root, &block);
    }
  }

  void remove(Block& block) noexcept {
    const size_t size_class = class_of(block.size);
    Block*& root = roots_[size_class];
    if (root == &block && block.child == nullptr) [[likely]] {
      root = nullptr;
      mark_empty(size_class);
    } else {
      remove_from_heap(root, block);
    }
  }

  /// Takes out the smallest block of at least `size` bytes; nullptr if there is none.
  Block* take(size_t size) noexcept {
    const size_t wanted = class_of(size);
    size_t word = wanted / 64;
    uint64_t bits = words_[word] & (~uint64_t{0} << (wanted % 64));
    if (bits == 0) {
      const uint64_t later = summary_ & (~uint64_t{1} << word);
      if (later == 0) {
        return nullptr;
      }
      word = static_cast<size_t>(std::countr_zero(later));
      bits = words_[word];
    }
    Block* block = roots_[word * 64 + static_cast<size_t>(std::countr_zero(bits))];
    remove(*block);
    return block;
  }

  /// Whether there is a block of exactly `size` bytes.
  bool has(size_t size) const noexcept { return roots_[class_of(size)] != nullptr; }

  /// Takes out a block that is a whole segment; nullptr if there is none.
  Block* take_segment() noexcept {
    Block* block = roots_[kClasses - 1];
    if (block != nullptr) {
      remove(*block);
    }
    return block;
  }

 private:
  static constexpr size_t kClasses = kSmallSegment / kMinBlockSize;
  static_assert(kClasses == size_t{64} * 64);

  static size_t class_of(size_t size) noexcept { return size / kMinBlockSize - 1; }

  void mark_empty(size_t size_class) noexcept {
    uint64_t& word = words_[size_class / 64];
    word &= ~(uint64_t{1} << (size_class % 64));
    if (word == 0) {
      summary_ &= ~(uint64_t{1} << (size_class / 64));
    }
  }

  static Block* meld(Block* a, Block* b) noexcept;
  static Block* meld_siblings(Block* eldest) noexcept;
  static void remove_from_heap(Block*& root, Block& block) noexcept;

  uint64_t summary_ = 0;
  std::array<uint64_t, kClasses / 64> words_{};
  std::array<Block*, kClasses> roots_{};
};

/// Free blocks of large segments.
class LargeBlocks {
 public:
  void insert(Block& block) { blocks_.insert(&block); }
  void remove(Block& block) { blocks_.erase(&block); }
  /// Takes out the smallest block of at least `size` bytes, unless CUDA's limits on splitting forbid it.
  Block* take(size_t size);
  /// Takes out a block that is a whole segment; nullptr if there is none.
  Block* take_segment();
  /// Takes out the smallest whole segment of at least `size` bytes, else the largest of at least `least`; nullptr if
  /// there is none.
  Block* take_segment(size_t size, size_t least);
  /// The blocks that are whole segments.
  std::vector<Block*> segments() const;

 private:
  Block* take_at(auto position) {
    Block* block = *position;
    blocks_.erase(position);
    return block;
  }

  struct BySize {
    using is_transparent = void;
    bool operator()(const Block* a, const Block* b) const noexcept {
      return a->size != b->size ? a->size < b->size : comes_before(*a, *b);
    }
    bool operator()(const Block* a, size_t size) const noexcept { return a->size < size; }
  };
  std::set<Block*, BySize> blocks_;
};

// Note [The parked block]
// Programs release a block and soon ask for the same size again. To merge it with its neighbour and to cut it off again
// would only restore what was there, so the last small block released is parked: counted as free, merged and cut by all
// statistics, but left as it is for as long as best fit would hand out the same place to the next request of its size.
// That is so if
// - neither neighbour is free, and no other free block has its size: an exact hole; or
// - its right neighbour is free, and no small block of the stream was merged or cut since the two were cut from each
//   other: then what the two would make is what best fit took the first time.
// Every other merge or cut first releases the parked block.

struct PrivatePool;

/// The free blocks of one stream in one pool. Blocks are never handed from one to another.
class StreamBlocks {
 public:
  StreamBlocks(PrivatePool* pool, c10::StreamId stream, bool splits) noexcept
      : pool(pool), stream(stream), splits(splits) {}

  PrivatePool* const pool;  ///< nullptr for the default pool
  const c10::StreamId stream;
  const bool splits;  ///< false in a pool that hands out whole segments only
  Block* parked = nullptr;
  uint32_t epoch = 0;  ///< counts merges and cuts of small blocks
  SmallBlocks small;
  LargeBlocks large;
};

}  // namespace torchdevice
