// allocator/DevicePoolPrivatePools.cpp: DevicePool's private pools, as in CUDA's caching allocator.

#include <algorithm>
#include <utility>

#include "allocator/DevicePool.h"
#include "allocator/ForeignSegments.h"

namespace torchdevice {

PrivatePool* DevicePool::find_private_pool(c10::MempoolId_t id) const {
  const auto found = std::ranges::find_if(private_pools_, [&id](const auto& pool) { return pool->id == id; });
  return found != private_pools_.end() ? found->get() : nullptr;
}

PrivatePool& DevicePool::join_private_pool(c10::MempoolId_t id, bool splits,
                                           std::shared_ptr<const CustomAllocator> source) {
  if (PrivatePool* pool = find_private_pool(id)) {
    TORCH_CHECK(
        pool->use_count > 0, "The memory pool (", id.first, ", ", id.second,
        ") has lost its last user, the graph or MemPool that it belonged to, and serves no allocations any more");
    TORCH_CHECK(source == nullptr, "The memory pool (", id.first, ", ", id.second, ") already has an allocator");
    pool->use_count += 1;
    return *pool;
  }
  return *private_pools_.emplace_back(
      std::make_unique<PrivatePool>(PrivatePool{.id = id, .splits = splits, .source = std::move(source)}));
}

void DevicePool::create_pool(c10::MempoolId_t id, bool splits, std::shared_ptr<const CustomAllocator> source) {
  const Guard guard(lock_);
  join_private_pool(id, splits, std::move(source));
}

void DevicePool::begin_allocate_to_pool(c10::MempoolId_t id, std::function<bool(c10::StreamId)> filter) {
  const Guard guard(lock_);
  TORCH_CHECK(std::ranges::none_of(routes_, [&id](const Route& route) { return route.pool->id == id; }),
              "beginAllocateToPool: already recording to mempool_id");
  routes_.reserve(routes_.size() + 1);
  routes_.push_back({&join_private_pool(id, /*splits=*/true, nullptr), std::move(filter)});
  settle();
  update_watched();
}

bool DevicePool::end_allocate_to_pool(c10::MempoolId_t id) {
  const Guard guard(lock_);
  const auto found = std::ranges::find_if(routes_, [&id](const Route& route) { return route.pool->id == id; });
  if (found == routes_.end()) {
    return false;
  }
  routes_.erase(found);
  update_watched();
  return true;
}

bool DevicePool::release_pool(c10::MempoolId_t id) {
  const Guard guard(lock_);
  PrivatePool* pool = find_private_pool(id);
  if (pool == nullptr || pool->use_count == 0) {
    return false;
  }
  pool->use_count -= 1;
  return true;
}

int DevicePool::pool_use_count(c10::MempoolId_t id) {
  const Guard guard(lock_);
  const PrivatePool* pool = find_private_pool(id);
  return pool != nullptr ? pool->use_count : 0;
}

void DevicePool::set_pool_use_on_oom(c10::MempoolId_t id, bool use_on_oom) {
  const Guard guard(lock_);
  if (PrivatePool* pool = find_private_pool(id)) {
    pool->use_on_oom = use_on_oom;
  }
}

bool DevicePool::pool_has_exactly(c10::MempoolId_t id, const std::unordered_set<const void*>& addresses) {
  const Guard guard(lock_);
  settle();
  TORCH_CHECK(find_private_pool(id) != nullptr, "Could not find pool of id");
  size_t found = 0;
  for (const Segment* segment : segments_) {
    if (segment->pool_id != id) {
      continue;
    }
    for (const Block* block = &segment->block_at(segment->base); block != nullptr; block = block->next) {
      if (block->state != BlockState::kAllocated) {
        continue;
      }
      if (!addresses.contains(block->start)) {
        return false;
      }
      ++found;
    }
  }
  return found == addresses.size();
}

StreamBlocks& DevicePool::routed_blocks(c10::StreamId stream) {
  for (auto route = routes_.rbegin(); route != routes_.rend(); ++route) {
    if (route->applies(stream)) {
      return find_stream_blocks(route->pool, stream);
    }
  }
  return stream_blocks(stream);
}

void DevicePool::forget_unused_pools() {
  const auto is_unused = [this](const PrivatePool& pool) {
    return pool.use_count == 0 && pool.segments == 0 &&
           std::ranges::none_of(routes_, [&pool](const Route& route) { return route.pool == &pool; });
  };
  std::erase_if(streams_, [&](const auto& blocks) { return blocks->pool != nullptr && is_unused(*blocks->pool); });
  std::erase_if(private_pools_, [&](const auto& pool) { return is_unused(*pool); });
}

Block* DevicePool::take_from_private_pools(size_t size, c10::StreamId stream) {
  for (const auto& blocks : streams_) {
    if (blocks->pool == nullptr || !blocks->pool->use_on_oom || blocks->stream != stream) {
      continue;
    }
    unpark(*blocks);
    if (Block* block = size <= kSmallSize ? blocks->small.take(size) : blocks->large.take(size)) {
      return block;
    }
  }
  return nullptr;
}

size_t DevicePool::free_in_private_pools() const {
  size_t result = 0;
  for (const Segment* segment : segments_) {
    if (segment->owner->pool == nullptr) {
      continue;
    }
    for (const Block* block = &segment->block_at(segment->base); block != nullptr; block = block->next) {
      result += block->state == BlockState::kFree ? block->size : 0;
    }
  }
  return result;
}

}  // namespace torchdevice
