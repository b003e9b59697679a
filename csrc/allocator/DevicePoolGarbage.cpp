// allocator/DevicePoolGarbage.cpp: what DevicePool gives back before it asks for a new segment, or after it got none.

#include <algorithm>

#include "allocator/DevicePool.h"

namespace torchdevice {

void DevicePool::collect_garbage() {
  const auto limit = static_cast<double>(allowed().value_or(0));
  const auto threshold = static_cast<size_t>(allocator_settings.gc_threshold * limit);
  const auto reserved = static_cast<size_t>(stats_.reserved_bytes.current());
  if (reserved <= threshold) {
    return;
  }
  struct Candidate {
    StreamBlocks* owner;
    Block* block;
    uint32_t age;
  };
  std::vector<Candidate> candidates;
  uint64_t total_age = 0;
  for (const auto& blocks : streams_) {
    for (Block* block : blocks->pool == nullptr ? blocks->large.segments() : std::vector<Block*>()) {
      candidates.push_back({blocks.get(), block, large_searches_ - block->epoch});
      total_age += candidates.back().age;
    }
  }
  // As CUDA's: in each round everything of at least the average age, until enough is back.
  size_t reclaimed = 0;
  while (reclaimed < reserved - threshold && !candidates.empty()) {
    const double average = static_cast<double>(total_age) / static_cast<double>(candidates.size());
    const auto old = std::ranges::stable_partition(
        candidates, [average](const Candidate& candidate) { return static_cast<double>(candidate.age) < average; });
    for (const Candidate& candidate : old) {
      total_age -= candidate.age;
      reclaimed += candidate.block->size;
      candidate.owner->large.remove(*candidate.block);
      release_segment(*candidate.block);
    }
    candidates.erase(old.begin(), old.end());
  }
}

bool DevicePool::release_oversize(StreamBlocks& blocks, size_t size) {
  const size_t max_split = allocator_settings.max_split_size;
  if (max_split == std::numeric_limits<size_t>::max() || size <= kSmallSize) {
    return false;
  }
  const size_t wanted = std::max(size, max_split);
  size_t released = 0;
  while (released < wanted) {
    const Block* block = blocks.large.take_segment(wanted, max_split);
    if (block == nullptr) {
      break;
    }
    released += block->size;
    release_segment(*block);
  }
  release_custom_segments();
  return released >= wanted;
}

}  // namespace torchdevice
