// check/Contents.cpp: which memory of the caching allocator anybody has written since it was handed out.

#include "check/Contents.h"

#include <algorithm>
#include <cstring>

namespace torchdevice::check {
namespace {

constexpr int kPattern = 0xFF;
constexpr uint64_t kAllWords = ~uint64_t{0};

bool holds_pattern(uintptr_t from, uintptr_t to) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);  // NOLINT(performance-no-int-to-ptr)
  return std::all_of(bytes, bytes + (to - from), [](unsigned char byte) { return byte == kPattern; });
}

}  // namespace

void Contents::allocate(void* memory, size_t nbytes, StackId stack) {
  std::memset(memory, kPattern, nbytes);
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  blocks_.insert_or_assign(memory, Block{begin, begin + nbytes, stack, false, std::vector<uint64_t>(nbytes / 256 + 1)});
}

void Contents::Block::mark(uintptr_t from, uintptr_t to) {
  from = std::max(from, begin);
  to = std::min(to, end);
  if (from >= to) {
    return;
  }
  for (size_t word = word_of(from), last = word_of(to - 1); word <= last;) {
    if (word % 64 == 0 && word + 63 <= last) {
      words[word / 64] = kAllWords;
      word += 64;
    } else {
      words[word / 64] |= uint64_t{1} << (word % 64);
      ++word;
    }
  }
}

void Contents::Block::unmark(uintptr_t address) {
  if (is_written) {
    std::ranges::fill(words, kAllWords);
    is_written = false;
  }
  const size_t word = word_of(address);
  words[word / 64] &= ~(uint64_t{1} << (word % 64));
}

void Contents::write(const void* memory, const Region& region) {
  const auto found = blocks_.find(memory);
  if (found == blocks_.end() || found->second.is_written) {
    return;
  }
  Block& block = found->second;
  block.is_written = region.dense() && region.begin() <= block.begin && block.end <= region.end();
  if (!block.is_written) {
    region.for_each_run([&](uintptr_t from, uintptr_t to) { block.mark(from, to); });
  }
}

void Contents::copy(const void* target, const Region& to, const void* source, const Region& from) {
  const bool in_step = to.dense() && from.dense() && to.end() - to.begin() == from.end() - from.begin();
  if (!in_step || unwritten(source, from) == 0) {
    write(target, to);
    return;
  }
  const Block& origin = blocks_.find(source)->second;
  const auto found = blocks_.find(target);
  if (found == blocks_.end()) {
    return;
  }
  for (uintptr_t at = from.begin(); at < from.end(); at += 4 - at % 4) {
    const uintptr_t there = to.begin() + (at - from.begin());
    if (origin.has(origin.word_of(at))) {
      found->second.mark(there, there + 4 - at % 4);
    } else {
      found->second.unmark(there);
    }
  }
}

uint64_t Contents::unwritten(const void* memory, const Region& region) {
  const auto found = blocks_.find(memory);
  if (found == blocks_.end() || found->second.is_written) {
    return 0;
  }
  Block& block = found->second;
  uint64_t bytes = 0;
  region.for_each_run([&](uintptr_t from, uintptr_t to) {
    from = std::max(from, block.begin);
    to = std::min(to, block.end);
    while (from < to) {
      const size_t word = block.word_of(from);
      if (word % 64 == 0 && block.words[word / 64] == kAllWords) {
        from = block.begin + (word + 64) * 4;
        continue;
      }
      const uintptr_t end = std::min(to, block.begin + (word + 1) * 4);
      if (!block.has(word)) {
        if (holds_pattern(from, end)) {
          bytes += end - from;
        } else {
          block.mark(from, end);
        }
      }
      from = end;
    }
  });
  return bytes;
}

StackId Contents::origin(const void* memory) const {
  const auto found = blocks_.find(memory);
  return found != blocks_.end() ? found->second.stack : 0;
}

}  // namespace torchdevice::check
