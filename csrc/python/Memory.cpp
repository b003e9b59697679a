// python/Memory.cpp: torch._C's functions of CUDA's caching allocator.

#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <string>

#include "allocator/CachingAllocator.h"
#include "python/Arguments.h"
#include "python/Bindings.h"
#include "python/Stats.h"
#include "runtime/Device.h"
#include "runtime/Stream.h"
#include "versions/Versions.h"

namespace torchdevice {
namespace {

using c10::CachingAllocator::StatArray;

py::dict stat_array_dict(const StatArray& stats) {
  constexpr std::array<const char*, std::tuple_size_v<StatArray>> kNames{"all", "small_pool", "large_pool"};
  py::dict dict;
  for (size_t i = 0; i < kNames.size(); ++i) {
    dict[kNames[i]] = stat_dict(stats[i]);
  }
  return dict;
}

PyObject* memory_stats(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  const auto stats = caching_allocator().getDeviceStats(device_argument(argument, "memory_allocated"));
  py::dict result;
  result["num_alloc_retries"] = stats.num_alloc_retries;
  result["num_ooms"] = stats.num_ooms;
  result["num_oom_rejections"] = stats.num_oom_rejections;
  result["max_split_size"] = stats.max_split_size;
  result["num_sync_all_streams"] = stats.num_sync_all_streams;
  result["num_device_alloc"] = stats.num_device_alloc;
  result["num_device_free"] = stats.num_device_free;
  result["allocation"] = stat_array_dict(stats.allocation);
  result["segment"] = stat_array_dict(stats.segment);
  result["active"] = stat_array_dict(stats.active);
  result["inactive_split"] = stat_array_dict(stats.inactive_split);
  result["allocated_bytes"] = stat_array_dict(stats.allocated_bytes);
  result["reserved_bytes"] = stat_array_dict(stats.reserved_bytes);
  result["active_bytes"] = stat_array_dict(stats.active_bytes);
  result["inactive_split_bytes"] = stat_array_dict(stats.inactive_split_bytes);
  result["requested_bytes"] = stat_array_dict(stats.requested_bytes);
  result["oversize_allocations"] = stat_dict(stats.oversize_allocations);
  result["oversize_segments"] = stat_dict(stats.oversize_segments);
  versions::with_private_pools(stats, [&result](const auto& pools) {
    py::dict by_pool;
    for (const auto& [id, bytes] : pools) {
      by_pool[py::make_tuple(id.first, id.second)] = stat_array_dict(bytes);
    }
    result["reserved_bytes_by_private_pools"] = by_pool;
  });
  return result.release().ptr();
  END_HANDLE_TH_ERRORS
}

PyObject* reset_peak_stats(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  caching_allocator().resetPeakStats(device_argument(argument, "reset_peak_memory_stats"));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* reset_accumulated_stats(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  caching_allocator().resetAccumulatedStats(device_argument(argument, "reset_accumulated_memory_stats"));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* empty_cache(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  const pybind11::gil_scoped_release no_gil;
  caching_allocator().emptyCache({0, 0});
  END_HANDLE_TH_ERRORS
  Py_RETURN_NONE;
}

PyObject* get_memory_fraction(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  return PyFloat_FromDouble(caching_allocator().memory_fraction(device_argument(argument, "get_memory_fraction")));
  END_HANDLE_TH_ERRORS
}

PyObject* set_memory_fraction(PyObject* /*self*/, PyObject* args) {
  HANDLE_TH_ERRORS
  double fraction = 0;
  PyObject* device = nullptr;
  if (!PyArg_ParseTuple(args, "dO", &fraction, &device)) {
    return nullptr;
  }
  caching_allocator().set_memory_fraction(fraction, device_argument(device, "set_memory_fraction"));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* allocator_backend(PyObject* /*self*/, PyObject* /*none*/) {
  return PyUnicode_FromString(caching_allocator().custom() != nullptr ? "pluggable" : "native");
}

PyObject* raw_alloc(PyObject* /*self*/, PyObject* args) {
  HANDLE_TH_ERRORS
  PyObject* size = nullptr;
  PyObject* handle = nullptr;
  if (!PyArg_ParseTuple(args, "OO", &size, &handle)) {
    return nullptr;
  }
  const Py_ssize_t nbytes = PyLong_AsSsize_t(size);
  void* stream = PyErr_Occurred() == nullptr ? PyLong_AsVoidPtr(handle) : nullptr;
  if (PyErr_Occurred() != nullptr) {
    return nullptr;
  }
  TORCH_CHECK_VALUE(nbytes >= 0, "Invalid memory size: ", nbytes,
                    ". caching_allocator_alloc requires a non-negative size.");
  return PyLong_FromVoidPtr(
      caching_allocator().allocate_for_stream(static_cast<size_t>(nbytes), external_stream(stream, current_device())));
  END_HANDLE_TH_ERRORS
}

PyObject* raw_delete(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  void* memory = PyLong_AsVoidPtr(argument);
  if (PyErr_Occurred() != nullptr) {
    return nullptr;
  }
  const pybind11::gil_scoped_release no_gil;
  release_cuda_memory(memory);
  END_HANDLE_TH_ERRORS
  Py_RETURN_NONE;
}

PyObject* enable(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(PyBool_Check(argument), "cudaCachingAllocator_enable expects a bool, but got ",
              Py_TYPE(argument)->tp_name);
  caching_allocator().set_enabled(argument == Py_True);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* is_enabled(PyObject* /*self*/, PyObject* /*none*/) {
  return PyBool_FromLong(caching_allocator().enabled() ? 1 : 0);
}

PyMethodDef memory_functions[] = {{"_cuda_memoryStats", memory_stats, METH_O, nullptr},
                                  {"_cuda_resetPeakMemoryStats", reset_peak_stats, METH_O, nullptr},
                                  {"_cuda_resetAccumulatedMemoryStats", reset_accumulated_stats, METH_O, nullptr},
                                  {"_cuda_emptyCache", empty_cache, METH_NOARGS, nullptr},
                                  {"_cuda_getMemoryFraction", get_memory_fraction, METH_O, nullptr},
                                  {"_cuda_setMemoryFraction", set_memory_fraction, METH_VARARGS, nullptr},
                                  {"_cuda_getAllocatorBackend", allocator_backend, METH_NOARGS, nullptr},
                                  {"_cuda_cudaCachingAllocator_raw_alloc", raw_alloc, METH_VARARGS, nullptr},
                                  {"_cuda_cudaCachingAllocator_raw_delete", raw_delete, METH_O, nullptr},
                                  {"_cuda_cudaCachingAllocator_enable", enable, METH_O, nullptr},
                                  {"_cuda_cudaCachingAllocator_is_enabled", is_enabled, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_memory(PyObject* torch_c) {
  if (PyModule_AddFunctions(torch_c, memory_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
