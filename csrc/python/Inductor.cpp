// python/Inductor.cpp: names that torch._inductor and torch._dynamo import wherever CUDA is built in, and what the code
// that inductor generates for cuda calls: allocation, failed assertions.

#include <ATen/ops/empty_strided.h>
#include <c10/core/Device.h>
#include <c10/util/SmallVector.h>
#include <torch/csrc/Dtype.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/csrc/utils/python_numbers.h>
#include <torch/csrc/utils/python_strings.h>

#include <cstdint>

#include "forward/DeviceAssertion.h"
#include "python/Bindings.h"
#include "python/Names.h"

namespace torchdevice {
namespace {

constexpr Py_ssize_t kParameters = 3;
constexpr size_t kUsualDimensions = 6;

using Integers = c10::SmallVector<int64_t, kUsualDimensions>;

Integers integers(PyObject* tuple) {
  TORCH_CHECK(PyTuple_Check(tuple), "expected a tuple of integers");
  Integers numbers;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); ++i) {
    numbers.push_back(THPUtils_unpackLong(PyTuple_GET_ITEM(tuple, i)));
  }
  return numbers;
}

/// (sizes, strides, dtype) on the device whose index is `index`, a Python integer, or on the current device.
PyObject* empty_strided(PyObject* index, PyObject* const* arguments, Py_ssize_t count) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(count == kParameters && THPDtype_Check(arguments[2]), "expected sizes, strides and a dtype");
  const auto device_index = PyLong_Check(index) ? THPUtils_unpackDeviceIndex(index) : c10::DeviceIndex{-1};
  const auto options = at::TensorOptions(reinterpret_cast<THPDtype*>(arguments[2])->scalar_type)
                           .device(at::Device(at::kCUDA, device_index));
  return THPVariable_Wrap(at::empty_strided(integers(arguments[0]), integers(arguments[1]), options));
  END_HANDLE_TH_ERRORS
}

PyCFunction as_function(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef guard_functions[] = {{"_empty_strided_cuda", as_function(&empty_strided), METH_FASTCALL, nullptr},
                                 {nullptr, nullptr, 0, nullptr}};

/// _empty_strided_cuda of one device: generated code says where each of its buffers is, so that it needs no guard.
py::object empty_strided_on(py::int_ index) {
  return py::reinterpret_steal<py::object>(PyCFunction_New(guard_functions, index.release().ptr()));
}

/// (operator, detail): what generated code found out of bounds, as a kernel's failed assertion.
PyObject* fail_device_assertion(PyObject* /*self*/, PyObject* const* arguments, Py_ssize_t count) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(count == 2 && THPUtils_checkString(arguments[0]) && THPUtils_checkString(arguments[1]),
              "expected an operator and a text");
  forward::fail_device_assertion(THPUtils_unpackString(arguments[0]), THPUtils_unpackString(arguments[1]));
  END_HANDLE_TH_ERRORS
}

PyMethodDef assertion_functions[] = {
    {"fail_device_assertion", as_function(&fail_device_assertion), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_inductor(PyObject* torch_c) {
  auto dynamo = add_submodule(py::reinterpret_borrow<py::module_>(torch_c), "_dynamo");
  if (PyModule_AddFunctions(add_submodule(dynamo, "guards").ptr(), guard_functions) < 0) {
    throw python_error();
  }
}

void add_inductor_patch(PyObject* torchdevice_c) {
  py::reinterpret_borrow<py::module_>(torchdevice_c).def("empty_strided_on", &empty_strided_on);
  if (PyModule_AddFunctions(torchdevice_c, assertion_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
