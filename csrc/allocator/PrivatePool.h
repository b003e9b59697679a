// allocator/PrivatePool.h: memory set aside for a part of a program: torch.cuda.MemPool, CUDA graphs.

#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/Stream.h>

#include <cstddef>
#include <functional>
#include <memory>

#include "allocator/CustomAllocator.h"

namespace torchdevice {

/// Its segments are in no other pool, and go back to the native backend only after its last user has left.
struct PrivatePool {
  const c10::MempoolId_t id;
  const bool splits;                                    ///< false: each segment is handed out whole
  const std::shared_ptr<const CustomAllocator> source;  ///< where its memory comes from; nullptr: the native backend
  int use_count = 1;
  size_t segments = 0;
  bool use_on_oom = false;  ///< its free blocks may serve other allocations on its device before they fail
};

/// Allocations on streams that `applies` to come from `pool`.
struct Route {
  PrivatePool* pool;
  std::function<bool(c10::StreamId)> applies;
};

}  // namespace torchdevice
