// python/Streams.cpp: torch._C._CudaStreamBase and the functions of current, default and external streams.

#include <c10/util/Exception.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/Stream.h>
#include <torch/csrc/utils/object_ptr.h>
#include <torch/csrc/utils/pycfunction_helpers.h>

#include "python/Arguments.h"
#include "python/Bindings.h"
#include "runtime/Capture.h"
#include "runtime/Device.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

c10::Stream checked_stream(int64_t id, int64_t device, int64_t type) {
  constexpr auto kCuda = static_cast<int64_t>(c10::kCUDA);
  TORCH_CHECK(type == kCuda, "Expected a CUDA stream, whose device_type is ", kCuda, ", but got ", type);
  return c10::Stream::unpack3(id, device_index_of(device), c10::kCUDA);
}

c10::Stream stream_of(PyObject* object) {
  const auto* self = reinterpret_cast<THPStream*>(object);
  return checked_stream(self->stream_id, self->device_index, self->device_type);
}

PyObject* triple(c10::Stream stream) {
  return Py_BuildValue("LiL", static_cast<long long>(stream.id()), static_cast<int>(stream.device_index()),
                       static_cast<long long>(stream.device_type()));
}

PyObject* stream_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  HANDLE_TH_ERRORS
  int priority = 0;
  long long id = 0;
  long long device = 0;
  long long device_type = 0;
  PyObject* pointer = nullptr;
  static const char* const names[] = {"priority", "stream_id", "device_index", "device_type", "stream_ptr", nullptr};
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|iLLLO", const_cast<char**>(names), &priority, &id, &device,
                                   &device_type, &pointer)) {
    return nullptr;
  }
  void* handle = pointer ? PyLong_AsVoidPtr(pointer) : nullptr;
  if (PyErr_Occurred()) {
    return nullptr;
  }
  TORCH_CHECK(!handle || priority == 0, "Priority was explicitly set for a external stream");
  const bool existing = id || device || device_type;
  const auto stream = existing ? checked_stream(id, device, device_type)
                      : handle ? external_stream(handle, current_device())
                               : pool_stream(priority, current_device());
  THPObjectPtr object(type->tp_alloc(type, 0));
  if (!object) {
    return nullptr;
  }
  auto* self = reinterpret_cast<THPStream*>(object.get());
  self->stream_id = stream.id();
  self->device_index = stream.device_index();  // NOLINT(bugprone-signed-char-misuse)
  self->device_type = static_cast<int64_t>(stream.device_type());
  return object.release();
  END_HANDLE_TH_ERRORS
}

PyObject* get_stream_handle(PyObject* self, void* /*closure*/) {
  HANDLE_TH_ERRORS
  return PyLong_FromVoidPtr(stream_handle(stream_of(self)));
  END_HANDLE_TH_ERRORS
}

PyObject* get_priority(PyObject* self, void* /*closure*/) {
  HANDLE_TH_ERRORS
  return PyLong_FromLong(stream_priority(stream_of(self)));
  END_HANDLE_TH_ERRORS
}

PyObject* priority_range(PyObject* /*none*/, PyObject* /*none*/) {
  const auto [least, greatest] = stream_priority_range();
  return Py_BuildValue("(ii)", least, greatest);
}

PyObject* get_current_stream(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  return triple(current_stream(device_argument(argument, "getCurrentStream")));
  END_HANDLE_TH_ERRORS
}

PyObject* get_current_raw_stream(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  return PyLong_FromVoidPtr(stream_handle(current_stream(device_argument(argument, "getCurrentStream"))));
  END_HANDLE_TH_ERRORS
}

PyObject* get_default_stream(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  return triple(default_stream(device_argument(argument, "getDefaultStream")));
  END_HANDLE_TH_ERRORS
}

PyObject* set_stream(PyObject* /*self*/, PyObject* args, PyObject* kwargs) {
  HANDLE_TH_ERRORS
  long long id = 0;
  long long device = 0;
  long long device_type = 0;
  static const char* const names[] = {"stream_id", "device_index", "device_type", nullptr};
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|LLL", const_cast<char**>(names), &id, &device, &device_type)) {
    return nullptr;
  }
  const auto stream = checked_stream(id, device, device_type);
  set_current_device(stream.device_index());
  exchange_stream(stream);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* get_external_stream(PyObject* /*self*/, PyObject* args) {
  HANDLE_TH_ERRORS
  PyObject* pointer = nullptr;
  PyObject* device = nullptr;
  if (!PyArg_ParseTuple(args, "OO", &pointer, &device)) {
    return nullptr;
  }
  void* handle = PyLong_AsVoidPtr(pointer);
  if (PyErr_Occurred()) {
    return nullptr;
  }
  return triple(external_stream(handle, device_argument(device, "getStreamFromExternal")));
  END_HANDLE_TH_ERRORS
}

PyObject* is_capturing(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  return PyBool_FromLong(current_capture(current_device()) != 0);
  END_HANDLE_TH_ERRORS
}

PyMethodDef stream_methods[] = {{"priority_range", priority_range, METH_STATIC | METH_NOARGS, nullptr},
                                {nullptr, nullptr, 0, nullptr}};
PyGetSetDef stream_properties[] = {{"cuda_stream", get_stream_handle, nullptr, nullptr, nullptr},
                                   {"priority", get_priority, nullptr, nullptr, nullptr},
                                   {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyType_Slot stream_slots[] = {{Py_tp_new, reinterpret_cast<void*>(stream_new)},
                              {Py_tp_methods, stream_methods},
                              {Py_tp_getset, stream_properties},
                              {0, nullptr}};
// Everything else is torch.Stream's, as in a CUDA build, and reaches us through the device guard.
PyType_Spec stream_spec = {"torch._C._CudaStreamBase", sizeof(THPStream), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                           stream_slots};

}  // namespace

void add_streams(PyObject* torch_c) {
  static PyMethodDef functions[] = {
      {"_cuda_getCurrentStream", get_current_stream, METH_O, nullptr},
      {"_cuda_getCurrentRawStream", get_current_raw_stream, METH_O, nullptr},
      {"_cuda_getDefaultStream", get_default_stream, METH_O, nullptr},
      {"_cuda_setStream", castPyCFunctionWithKeywords(set_stream), METH_VARARGS | METH_KEYWORDS, nullptr},
      {"_cuda_getStreamFromExternal", get_external_stream, METH_VARARGS, nullptr},
      {"_cuda_isCurrentStreamCapturing", is_capturing, METH_NOARGS, nullptr},
      {nullptr, nullptr, 0, nullptr}};
  THPObjectPtr bases(PyTuple_Pack(1, THPStreamClass));
  if (!bases) {
    throw python_error();
  }
  THPObjectPtr type(PyType_FromSpecWithBases(&stream_spec, bases));
  if (!type || PyModule_AddObjectRef(torch_c, "_CudaStreamBase", type) < 0) {
    throw python_error();
  }
  if (PyModule_AddFunctions(torch_c, functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
