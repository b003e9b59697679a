// python/Stats.h: statistics of allocators as Python objects.

#pragma once

#include <c10/core/Allocator.h>
#include <torch/csrc/utils/pybind.h>

namespace torchdevice {

inline py::dict stat_dict(const c10::CachingAllocator::Stat& stat) {
  py::dict dict;
  dict["current"] = stat.current;
  dict["peak"] = stat.peak;
  dict["allocated"] = stat.allocated;
  dict["freed"] = stat.freed;
  return dict;
}

}  // namespace torchdevice
