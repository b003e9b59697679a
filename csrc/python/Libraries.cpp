// python/Libraries.cpp: torch._C's names of cuBLAS, cuSOLVER, cuDNN and jiterator: libraries that do not exist here,
// but whose settings and versions programs read and write.

#include <ATen/Context.h>
#include <c10/util/env.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/csrc/utils/python_numbers.h>

#include <atomic>
#include <optional>
#include <regex>
#include <string>

#include "native/Backend.h"
#include "python/Bindings.h"
#include "python/Names.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice {
namespace {

constexpr size_t kBytesPerKib = 1024;

/// A workspace size that was set; -1: none, the environment's or the default holds.
constinit std::atomic<int64_t> cublas_workspace{-1};
constinit std::atomic<int64_t> cublaslt_workspace{-1};

/// CUBLAS_WORKSPACE_CONFIG, else what cuBLAS recommends: 32 MiB from Hopper on, :4096:2:16:8 before.
size_t configured_cublas_workspace() {
  const bool hopper_or_newer = compute_capability().first >= 9;
  const size_t recommended = (hopper_or_newer ? 4096 * 8 : 4096 * 2 + 16 * 8) * kBytesPerKib;
  const auto setting = c10::utils::get_env("CUBLAS_WORKSPACE_CONFIG");
  if (!setting.has_value()) {
    return recommended;
  }
  static const std::regex entry(":([0-9]+):([0-9]+)");
  size_t total = 0;
  std::sregex_iterator match(setting->begin(), setting->end(), entry);
  if (match == std::sregex_iterator()) {
    TORCH_WARN("Could not parse CUBLAS_WORKSPACE_CONFIG, using default workspace size of ", recommended, " bytes.");
    return recommended;
  }
  for (; match != std::sregex_iterator(); ++match) {
    total += std::stoull((*match)[1]) * kBytesPerKib * std::stoull((*match)[2]);
  }
  return total;
}

size_t cublas_workspace_size() {
  static const size_t configured = configured_cublas_workspace();
  const int64_t chosen = cublas_workspace;
  return chosen >= 0 ? static_cast<size_t>(chosen) : configured;
}

/// CUBLASLT_WORKSPACE_SIZE in KiB, else cuBLAS's workspace, which both share unless
/// TORCH_CUBLASLT_UNIFIED_WORKSPACE=0: then 1 MiB.
size_t configured_cublaslt_workspace(bool unified) {
  const size_t fallback = unified ? configured_cublas_workspace() / kBytesPerKib : 1024;
  const auto setting = c10::utils::get_env("CUBLASLT_WORKSPACE_SIZE");
  if (!setting.has_value()) {
    return fallback * kBytesPerKib;
  }
  try {
    return static_cast<size_t>(std::stoi(*setting)) * kBytesPerKib;
  } catch (const std::invalid_argument&) {
    TORCH_WARN("invalid CUBLASLT_WORKSPACE_SIZE, using default workspace size of ", fallback, " KiB.");
  } catch (const std::out_of_range&) {
    TORCH_WARN("CUBLASLT_WORKSPACE_SIZE out of range, using default workspace size of ", fallback, " KiB.");
  }
  return fallback * kBytesPerKib;
}

size_t cublaslt_workspace_size() {
  static const bool unified = c10::utils::check_env("TORCH_CUBLASLT_UNIFIED_WORKSPACE").value_or(true);
  static const size_t configured = configured_cublaslt_workspace(unified);
  const int64_t chosen = cublaslt_workspace;
  const size_t size = chosen >= 0 ? static_cast<size_t>(chosen) : configured;
  const size_t limit = cublas_workspace_size();
  if (!unified || size <= limit) {
    return size;
  }
  TORCH_WARN_ONCE("Requested unified CUBLASLT workspace size of ", size, " bytes exceeds CUBLAS workspace size of ",
                  limit, " bytes. Please increase CUBLAS workspace size via CUBLAS_WORKSPACE_CONFIG or decrease ",
                  "requested CUBLASLT_WORKSPACE_SIZE. Otherwise CUBLASLT workspace size will be limited to the CUBLAS ",
                  "workspace size.");
  return limit;
}

int64_t size_argument(PyObject* argument) {
  TORCH_CHECK(THPUtils_checkLong(argument), "expected an int for the workspace size, but got ",
              THPUtils_typename(argument));
  const auto size = THPUtils_unpackLong(argument);
  TORCH_CHECK(size >= 0, "workspace size must be non-negative, but got ", size);
  return size;
}

PyObject* get_cublas_workspace(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  return THPUtils_packUInt64(cublas_workspace_size());
  END_HANDLE_TH_ERRORS
}

PyObject* set_cublas_workspace(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  cublas_workspace = size_argument(argument);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* reset_cublas_workspace(PyObject* /*self*/, PyObject* /*none*/) {
  cublas_workspace = -1;
  Py_RETURN_NONE;
}

PyObject* get_cublaslt_workspace(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  return THPUtils_packUInt64(cublaslt_workspace_size());
  END_HANDLE_TH_ERRORS
}

PyObject* set_cublaslt_workspace(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  cublaslt_workspace = size_argument(argument);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* reset_cublaslt_workspace(PyObject* /*self*/, PyObject* /*none*/) {
  cublaslt_workspace = -1;
  Py_RETURN_NONE;
}

// No workspace was ever allocated.
PyObject* clear_cublas_workspaces(PyObject* /*self*/, PyObject* /*none*/) { Py_RETURN_NONE; }

PyObject* no_library_handle(const char* function, const char* library) {
  HANDLE_TH_ERRORS
  TORCH_CHECK_NOT_IMPLEMENTED(false, function, "(): torchdevice computes on ", native_backend().host().name,
                              " without ", library,
                              ", so there is no handle to hand out; use torch.linalg or torch.mm.");
  END_HANDLE_TH_ERRORS
}

PyObject* blas_handle(PyObject* /*self*/, PyObject* /*none*/) {
  return no_library_handle("torch.cuda.current_blas_handle", "cuBLAS");
}

PyObject* solver_handle(PyObject* /*self*/, PyObject* /*none*/) {
  return no_library_handle("torch.cuda.current_solver_handle", "cuSOLVER");
}

PyObject* get_benchmark_limit(PyObject* /*self*/, PyObject* /*none*/) {
  return THPUtils_packInt32(at::globalContext().benchmarkLimitCuDNN());
}

PyObject* set_benchmark_limit(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(THPUtils_checkLong(argument), "set_benchmark_limit_cudnn expects an int, but got ",
              THPUtils_typename(argument));
  at::globalContext().setBenchmarkLimitCuDNN(static_cast<int>(THPUtils_unpackLong(argument)));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

/// Whether cuDNN's benchmarks give cached memory back. They do not exist; inductor saves and restores the setting.
constinit std::atomic<bool> benchmark_empties_cache{true};

PyObject* get_benchmark_empty_cache(PyObject* /*self*/, PyObject* /*none*/) {
  return PyBool_FromLong(benchmark_empties_cache);
}

PyObject* set_benchmark_empty_cache(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(PyBool_Check(argument), "cudnn_set_conv_benchmark_empty_cache expects a bool, but got ",
              THPUtils_typename(argument));
  benchmark_empties_cache = argument == Py_True;
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

/// cudnnRNNMode_t
enum class RnnMode : uint8_t { kRelu = 0, kTanh = 1, kLstm = 2, kGru = 3 };

// The version alone: torch's kernels for cuDNN are chosen by Hooks::compiledWithCuDNN(), which stays false.
void add_cudnn(py::module& m) {
  auto cudnn = add_submodule(m, "_cudnn");
  cudnn.attr("is_cuda") = true;
  py::enum_<RnnMode>(cudnn, "RNNMode", py::module_local())
      .value("rnn_relu", RnnMode::kRelu)
      .value("rnn_tanh", RnnMode::kTanh)
      .value("lstm", RnnMode::kLstm)
      .value("gru", RnnMode::kGru);
  const int version = cuda_release().cudnn;
  const auto parts = [version] { return py::make_tuple(version / 10000, version / 100 % 100, version % 100); };
  cudnn.def("getVersionInt", [version] { return version; });
  cudnn.def("getRuntimeVersion", parts);
  cudnn.def("getCompileVersion", parts);
}

PyObject* jiterator(PyObject* /*self*/, PyObject* /*arguments*/) {
  HANDLE_TH_ERRORS
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "torch.cuda.jiterator compiles CUDA C++ for an NVIDIA GPU, and torchdevice computes on ",
      native_backend().host().name, "; write the function with torch operators instead of a CUDA code string.");
  END_HANDLE_TH_ERRORS
}

PyMethodDef library_functions[] = {
    {"_cuda_getCublasWorkspaceSize", get_cublas_workspace, METH_NOARGS, nullptr},
    {"_cuda_setCublasWorkspaceSize", set_cublas_workspace, METH_O, nullptr},
    {"_cuda_resetCublasWorkspaceSize", reset_cublas_workspace, METH_NOARGS, nullptr},
    {"_cuda_getCublasLtWorkspaceSize", get_cublaslt_workspace, METH_NOARGS, nullptr},
    {"_cuda_setCublasLtWorkspaceSize", set_cublaslt_workspace, METH_O, nullptr},
    {"_cuda_resetCublasLtWorkspaceSize", reset_cublaslt_workspace, METH_NOARGS, nullptr},
    {"_cuda_clearCublasWorkspaces", clear_cublas_workspaces, METH_NOARGS, nullptr},
    {"_cuda_getCurrentBlasHandle", blas_handle, METH_NOARGS, nullptr},
    {"_cuda_getCurrentSolverHandle", solver_handle, METH_NOARGS, nullptr},
    {"_cuda_get_cudnn_benchmark_limit", get_benchmark_limit, METH_NOARGS, nullptr},
    {"_cuda_set_cudnn_benchmark_limit", set_benchmark_limit, METH_O, nullptr},
    {"_cuda_get_conv_benchmark_empty_cache", get_benchmark_empty_cache, METH_NOARGS, nullptr},
    {"_cudnn_set_conv_benchmark_empty_cache", set_benchmark_empty_cache, METH_O, nullptr},
    {"_cuda_jiterator_compile_and_launch_kernel", jiterator, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_libraries(PyObject* torch_c) {
  auto m = py::handle(torch_c).cast<py::module>();
  add_cudnn(m);
  if (PyModule_AddFunctions(torch_c, library_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
