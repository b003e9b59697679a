// check/Contents.h: which memory of the caching allocator anybody has written since it was handed out.

#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "check/Findings.h"
#include "check/Operators.h"
#include "check/Region.h"

namespace torchdevice::check {

// Note [Unwritten memory]
// A block is handed out full of a pattern: every byte 0xFF, which is NaN in each floating point type that has one and
// -1 or the largest number in integers. One bit for every four bytes says whether an operator has written there. What
// operators do not see (kernels of Triton, other libraries) writes, too: so memory counts as unwritten only as long as
// it also holds the pattern. Bytes beside those that were written share their bit, so that padding makes no noise.

/// Under the checker's lock. For memory that the host can read.
class Contents {
 public:
  void allocate(void* memory, size_t nbytes, StackId stack);
  void free(const void* memory) { blocks_.erase(memory); }

  /// The region of `memory` is written.
  void write(const void* memory, const Region& region);
  /// What is unwritten of `source` is so in `target`, too: as many bytes, in the same order.
  void copy(const void* target, const Region& to, const void* source, const Region& from);

  /// How many bytes of the region nobody has written; 0 for memory that is not ours.
  uint64_t unwritten(const void* memory, const Region& region);
  /// Where the block was handed out.
  StackId origin(const void* memory) const;

 private:
  struct Block {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    StackId stack = 0;
    bool is_written = false;  ///< all of it
    std::vector<uint64_t> words;

    size_t word_of(uintptr_t address) const { return (address - begin) / 4; }
    bool has(size_t word) const { return (words[word / 64] >> (word % 64) & 1U) != 0; }
    void mark(uintptr_t from, uintptr_t to);
    void unmark(uintptr_t address);
  };

  std::unordered_map<const void*, Block> blocks_;
};

}  // namespace torchdevice::check
