// python/PinnedMemory.cpp: torch._C's functions of the pinned memory allocator.

#include "allocator/PinnedMemory.h"

#include <torch/csrc/utils/pybind.h>

#include "python/Bindings.h"
#include "python/Stats.h"

namespace torchdevice {
namespace {

/// Microseconds.
py::dict duration_dict(const c10::CachingAllocator::DurationStat& stat) {
  py::dict dict;
  dict["total"] = stat.total;
  dict["max"] = stat.max;
  dict["min"] = stat.min;
  dict["count"] = stat.count;
  dict["avg"] = stat.count == 0 ? 0 : stat.total / stat.count;
  return dict;
}

py::dict host_memory_stats() {
  const at::HostStats stats = host_allocator().get_stats();
  py::dict result;
  result["num_host_alloc"] = stats.num_host_alloc;
  result["num_host_free"] = stats.num_host_free;
  result["allocations"] = stat_dict(stats.allocations);
  result["active_requests"] = stat_dict(stats.active_requests);
  result["allocated_bytes"] = stat_dict(stats.allocated_bytes);
  result["active_bytes"] = stat_dict(stats.active_bytes);
  result["host_alloc_time"] = duration_dict(stats.host_alloc_time);
  result["host_free_time"] = duration_dict(stats.host_free_time);
  return result;
}

}  // namespace

void add_pinned_memory(PyObject* torch_c) {
  auto m = py::handle(torch_c).cast<py::module>();
  m.def("_host_emptyCache", [] { host_allocator().empty_cache(); }, py::call_guard<py::gil_scoped_release>());
  m.def("_cuda_hostMemoryStats", &host_memory_stats);
  m.def("_cuda_resetAccumulatedHostMemoryStats", [] { host_allocator().reset_accumulated_stats(); });
  m.def("_cuda_resetPeakHostMemoryStats", [] { host_allocator().reset_peak_stats(); });
  m.def("_cuda_cudaHostAllocator", [] { return reinterpret_cast<uintptr_t>(&host_allocator()); });
}

}  // namespace torchdevice
