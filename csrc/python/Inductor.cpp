// python/Inductor.cpp: names that torch._inductor and torch._dynamo import wherever CUDA is built in.

#include <ATen/ops/empty_strided.h>
#include <torch/csrc/Dtype.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <cstdint>
#include <vector>

#include "python/Names.h"

namespace torchdevice {
namespace {

std::vector<int64_t> integers(PyObject* tuple) { return py::handle(tuple).cast<std::vector<int64_t>>(); }

/// What inductor's generated code calls for its buffers: (sizes, strides, dtype) on the current device.
PyObject* empty_strided_cuda(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  PyObject* sizes = nullptr;
  PyObject* strides = nullptr;
  PyObject* dtype = nullptr;
  if (!PyArg_ParseTuple(arguments, "OOO", &sizes, &strides, &dtype)) throw python_error();
  TORCH_CHECK(THPDtype_Check(dtype), "_empty_strided_cuda expects a dtype");
  const auto options = at::TensorOptions(reinterpret_cast<THPDtype*>(dtype)->scalar_type).device(at::kCUDA);
  return THPVariable_Wrap(at::empty_strided(integers(sizes), integers(strides), options));
  END_HANDLE_TH_ERRORS
}

PyMethodDef guard_functions[] = {{"_empty_strided_cuda", empty_strided_cuda, METH_VARARGS, nullptr},
                                 {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_inductor(PyObject* torch_c) {
  const py::object guards = py::handle(torch_c).attr("_dynamo").attr("guards");
  if (PyModule_AddFunctions(guards.ptr(), guard_functions) < 0) throw python_error();
}

}  // namespace torchdevice
