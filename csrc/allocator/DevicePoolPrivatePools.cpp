// allocator/DevicePoolPrivatePools.cpp: DevicePool's private pools, as in CUDA's caching allocator.

#include <algorithm>

#include "allocator/DevicePool.h"
#include "allocator/ForeignSegments.h"

namespace torchdevice {

PrivatePool& DevicePool::private_pool(c10::MempoolId_t id) {
  const auto found = std::ranges::find_if(private_pools_, [&id](const auto& pool) { return pool->id == id; });
  TORCH_INTERNAL_ASSERT(found != private_pools_.end());
  return **found;
}

void DevicePool::create_pool(c10::MempoolId_t id, bool splits, std::shared_ptr<const CustomAllocator> source) {
  const Guard guard(lock_);
  const auto found = std::ranges::find_if(private_pools_, [&id](const auto& pool) { return pool->id == id; });
  if (found == private_pools_.end()) {
    private_pools_.push_back(
        std::make_unique<PrivatePool>(PrivatePool{.id = id, .splits = splits, .source = std::move(source)}));
  } else {
    TORCH_INTERNAL_ASSERT((*found)->use_count > 0);
    TORCH_INTERNAL_ASSERT(source == nullptr);
    (*found)->use_count += 1;
  }
}

void DevicePool::begin_allocate_to_pool(c10::MempoolId_t id, std::function<bool(c10::StreamId)> filter) {
  create_pool(id, /*splits=*/true, nullptr);
  const Guard guard(lock_);
  PrivatePool& pool = private_pool(id);
  for (const Route& route : routes_) {
    TORCH_CHECK(route.pool != &pool, "beginAllocateToPool: already recording to mempool_id");
  }
  routes_.push_back({&pool, std::move(filter)});
  settle();
  update_watched();
}

void DevicePool::end_allocate_to_pool(c10::MempoolId_t id) {
  const Guard guard(lock_);
  const auto found = std::ranges::find_if(routes_, [&id](const Route& route) { return route.pool->id == id; });
  TORCH_CHECK(found != routes_.end(), "endAllocatePool: not currently recording to mempool_id");
  routes_.erase(found);
  update_watched();
}

void DevicePool::release_pool(c10::MempoolId_t id) {
  const Guard guard(lock_);
  PrivatePool& pool = private_pool(id);
  TORCH_INTERNAL_ASSERT(pool.use_count > 0);
  pool.use_count -= 1;
}

int DevicePool::pool_use_count(c10::MempoolId_t id) {
  const Guard guard(lock_);
  return private_pool(id).use_count;
}

void DevicePool::set_pool_use_on_oom(c10::MempoolId_t id, bool use_on_oom) {
  const Guard guard(lock_);
  private_pool(id).use_on_oom = use_on_oom;
}

bool DevicePool::pool_has_exactly(c10::MempoolId_t id, const std::unordered_set<const void*>& addresses) {
  const Guard guard(lock_);
  settle();
  TORCH_CHECK(std::ranges::any_of(private_pools_, [&id](const auto& pool) { return pool->id == id; }),
              "Could not find pool of id");
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
