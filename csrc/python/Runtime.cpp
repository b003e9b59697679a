// python/Runtime.cpp: the submodules _cudart and _nvtx, and functions of torch._C that belong nowhere else.

#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/csrc/utils/python_numbers.h>

#include <atomic>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "allocator/CachingAllocator.h"
#include "allocator/PinnedMemory.h"
#include "native/Backend.h"
#include "python/Bindings.h"
#include "python/Names.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"
#include "runtime/Error.h"

namespace torchdevice {
namespace {

/// An address that serves as the handle of an external stream.
struct alignas(16) StreamHandle {
  char unused;
};

/// The handles that cudaStreamCreate has given out. Guarded by the GIL.
std::set<void*>& stream_handles() {
  static auto* handles = new std::set<void*>();
  return *handles;
}

// NOLINTNEXTLINE(performance-no-int-to-ptr): Python passes pointers as numbers
void* pointer_of(uintptr_t address) { return reinterpret_cast<void*>(address); }

CudaError create_stream(uintptr_t target) {
  if (target == 0) {
    return CudaError::kInvalidValue;
  }
  void* handle = new StreamHandle();
  stream_handles().insert(handle);
  *static_cast<void**>(pointer_of(target)) = handle;
  return CudaError::kSuccess;
}

CudaError destroy_stream(uintptr_t handle) {
  void* pointer = pointer_of(handle);
  if (stream_handles().erase(pointer) == 0) {
    return CudaError::kInvalidResourceHandle;
  }
  delete static_cast<StreamHandle*>(pointer);
  return CudaError::kSuccess;
}

std::pair<size_t, size_t> memory_info(c10::DeviceIndex device) {
  const auto index = resolve_device(device);
  check_device(index);
  const py::gil_scoped_release no_gil;
  return caching_allocator().getMemoryInfo(index);
}

void add_cudart(py::module& m) {
  auto cudart = add_submodule(m, "_cudart");
  py::enum_<CudaError> error(cudart, "cudaError", py::module_local());
  error.value("success", CudaError::kSuccess);
  // As the plain C enumeration of a CUDA build, an error equals its number: torch.cuda.check_error(0) passes.
  const auto number = [](const py::object& value) { return py::int_(value); };
  error.attr("__eq__") = py::cpp_function(
      [number](const py::object& self, const py::object& other) {
        return PyIndex_Check(other.ptr()) && number(self).equal(number(other));
      },
      py::name("__eq__"), py::is_method(error));
  error.attr("__ne__") = py::cpp_function(
      [number](const py::object& self, const py::object& other) {
        return !PyIndex_Check(other.ptr()) || !number(self).equal(number(other));
      },
      py::name("__ne__"), py::is_method(error));
  cudart.def("cudaGetErrorString", [](CudaError error) { return cuda_error_string(static_cast<int32_t>(error)); });
  // A profiler of CUDA would attach to the driver; there is none, and starting none succeeds in a CUDA build too.
  cudart.def("cudaProfilerStart", [] { return CudaError::kSuccess; });
  cudart.def("cudaProfilerStop", [] { return CudaError::kSuccess; });
  cudart.def("cudaHostRegister", [](uintptr_t pointer, size_t nbytes, unsigned int /*flags*/) {
    return static_cast<CudaError>(register_host_memory(pointer_of(pointer), nbytes));
  });
  cudart.def("cudaHostUnregister",
             [](uintptr_t pointer) { return static_cast<CudaError>(unregister_host_memory(pointer_of(pointer))); });
  cudart.def("cudaStreamCreate", create_stream);
  cudart.def("cudaStreamDestroy", destroy_stream);
  cudart.def("cudaMemGetInfo", memory_info);
}

constinit thread_local int range_depth = 0;
constinit std::atomic<uint64_t> last_range{0};

// Note [NVTX without a profiler]
// NVTX marks time for NVIDIA's profilers, which cannot attach here. Depths and handles behave as if one did.
void add_nvtx(py::module& m) {
  constexpr int kNoRange = -1;
  auto nvtx = add_submodule(m, "_nvtx");
  nvtx.def("rangePushA", [](const std::string& /*message*/) { return range_depth++; });
  nvtx.def("rangePop", [] { return range_depth > 0 ? --range_depth : kNoRange; });
  nvtx.def("rangeStartA", [](const std::string& /*message*/) { return ++last_range; });
  nvtx.def("rangeEnd", [](uint64_t /*range*/) {});
  nvtx.def("markA", [](const std::string& /*message*/) {});
  nvtx.def("deviceRangeStart",
           [](const std::string& /*message*/, intptr_t /*stream*/) { return py::int_(++last_range); });
  nvtx.def("deviceRangeEnd", [](const py::object& /*range*/, intptr_t /*stream*/) {});
}

PyObject* sleep(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(THPUtils_checkLong(argument), "torch.cuda._sleep(): expected 'int'");
  const auto cycles = THPUtils_unpackLong(argument);
  const auto* profile = device_profile();
  const int clock_khz = profile ? profile->clock_khz : native_backend().host().clock_khz;
  constexpr double kUnknownClockHz = 1e9;
  const double hertz = clock_khz > 0 ? clock_khz * 1e3 : kUnknownClockHz;
  {
    const py::gil_scoped_release no_gil;
    std::this_thread::sleep_for(std::chrono::duration<double>(static_cast<double>(cycles) / hertz));
  }
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

// See Note [CUDA IPC without a GPU]: memory goes back when its last user lets go, so nothing waits to be collected.
PyObject* ipc_collect(PyObject* /*self*/, PyObject* /*none*/) { Py_RETURN_NONE; }

PyMethodDef runtime_functions[] = {{"_cuda_sleep", sleep, METH_O, nullptr},
                                   {"_cuda_ipc_collect", ipc_collect, METH_NOARGS, nullptr},
                                   {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_runtime(PyObject* torch_c) {
  auto m = py::handle(torch_c).cast<py::module>();
  add_cudart(m);
  add_nvtx(m);
  if (PyModule_AddFunctions(torch_c, runtime_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
