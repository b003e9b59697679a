// python/Events.cpp: torch._C._CudaEventBase.

#include <c10/core/Event.h>
#include <c10/util/Exception.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/Device.h>
#include <torch/csrc/Event.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/Stream.h>
#include <torch/csrc/utils/device_lazy_init.h>
#include <torch/csrc/utils/object_ptr.h>
#include <torch/csrc/utils/pycfunction_helpers.h>
#include <torch/csrc/utils/python_arg_parser.h>

#include <new>
#include <string>
#include <string_view>

#include "python/Bindings.h"
#include "runtime/Device.h"
#include "runtime/Error.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

struct CudaEvent {
  THPEvent base;
  bool interprocess;
};

c10::Event& event_of(PyObject* object) { return reinterpret_cast<THPEvent*>(object)->event; }

PyObject* new_event(PyTypeObject* type, c10::EventFlag flag, bool interprocess) {
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) {
    return nullptr;
  }
  new (&event_of(self)) c10::Event(c10::kCUDA, flag);
  reinterpret_cast<CudaEvent*>(self)->interprocess = interprocess;
  return self;
}

c10::Stream stream_argument(PyObject* object, const char* function) {
  TORCH_CHECK_TYPE(THPStream_Check(object), function, "(): expected a torch.cuda.Stream, but got ",
                   Py_TYPE(object)->tp_name);
  const auto* stream = reinterpret_cast<THPStream*>(object);
  return c10::Stream::unpack3(stream->stream_id, static_cast<c10::DeviceIndex>(stream->device_index),
                              static_cast<c10::DeviceType>(stream->device_type));
}

PyObject* event_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  HANDLE_TH_ERRORS
  unsigned char enable_timing = 0;
  // How to wait, and for which graphs: all the same where work is done when the call returns.
  unsigned char blocking = 0;
  unsigned char interprocess = 0;
  unsigned char external = 0;
  static const char* const names[] = {"enable_timing", "blocking", "interprocess", "external", nullptr};
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|bbbb", const_cast<char**>(names), &enable_timing, &blocking,
                                   &interprocess, &external)) {
    return nullptr;
  }
  return new_event(type, enable_timing ? c10::EventFlag::BACKEND_DEFAULT : c10::EventFlag::PYTORCH_DEFAULT,
                   interprocess != 0);
  END_HANDLE_TH_ERRORS
}

/// CUDA makes the event at its first use, and refuses this pair of flags there.
void check_flags(PyObject* self) {
  if (reinterpret_cast<CudaEvent*>(self)->interprocess && event_of(self).flag() == c10::EventFlag::BACKEND_DEFAULT) {
    throw_cuda_error(CudaError::kInvalidValue, "createEvent");
  }
}

PyObject* event_record(PyObject* self, PyObject* argument) {
  HANDLE_TH_ERRORS {
    auto& event = event_of(self);
    const auto stream = stream_argument(argument, "record");
    check_flags(self);
    TORCH_CHECK(event.device_index() == -1 || event.device_index() == stream.device_index(), "Event device ",
                static_cast<int>(event.device_index()), " does not match recording stream's device ",
                static_cast<int>(stream.device_index()), ".");
    const bool interprocess = reinterpret_cast<CudaEvent*>(self)->interprocess;
    const pybind11::gil_scoped_release no_gil;
    if (interprocess) {
      synchronize_device(stream.device_index());
    }
    event.record(stream);
  }
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* event_wait(PyObject* self, PyObject* argument) {
  HANDLE_TH_ERRORS {
    const auto stream = stream_argument(argument, "wait");
    const pybind11::gil_scoped_release no_gil;
    event_of(self).block(stream);
  }
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

// torch.Event's own method takes nothing but an exact torch.Event.
PyObject* event_elapsed_time(PyObject* self, PyObject* other) {
  HANDLE_TH_ERRORS
  TORCH_CHECK_TYPE(THPEvent_Check(other), "elapsed_time(): expected a torch.cuda.Event, but got ",
                   Py_TYPE(other)->tp_name);
  return PyFloat_FromDouble(event_of(self).elapsedTime(event_of(other)));
  END_HANDLE_TH_ERRORS
}

// Note [Events between processes]
// What was submitted before an interprocess event is done when record() returns, in whichever process that was. So its
// state is always "done", the only thing to hand over is that it is an event, and the copy in the other process is
// ready to be waited for, and to be recorded again.

/// sizeof(cudaIpcEventHandle_t)
constexpr size_t kIpcHandleSize = 64;
constexpr std::string_view kIpcHandleText = "torchdevice: an event whose work is done";
static_assert(kIpcHandleText.size() <= kIpcHandleSize);

PyObject* event_ipc_handle(PyObject* self, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  if (!reinterpret_cast<CudaEvent*>(self)->interprocess) {
    throw_cuda_error(CudaError::kInvalidResourceHandle, "ipc_handle");
  }
  check_flags(self);
  auto& event = event_of(self);
  if (event.device_index() == -1) {
    event.record(current_stream(current_device()));
  }
  std::string handle(kIpcHandleText);
  handle.resize(kIpcHandleSize);
  return PyBytes_FromStringAndSize(handle.data(), static_cast<Py_ssize_t>(handle.size()));
  END_HANDLE_TH_ERRORS
}

PyObject* event_from_ipc_handle(PyObject* type, PyObject* args, PyObject* kwargs) {
  HANDLE_TH_ERRORS
  static torch::PythonArgParser parser({"from_ipc_handle(Device device, std::string ipc_handle)"});
  torch::ParsedArgs<2> parsed;
  auto arguments = parser.parse(args, kwargs, parsed);
  const auto device = arguments.device(0);
  const auto handle = arguments.string(1);
  TORCH_CHECK(handle.size() == kIpcHandleSize, "cudaIpcEventHandle_t expects byte-like object of size ", kIpcHandleSize,
              ", but got ", handle.size());
  TORCH_CHECK(device.is_cuda(), "Event can only be created on CUDA devices, but got device type ", device.type());
  torch::utils::device_lazy_init(c10::kCUDA);
  const auto index = resolve_device(device.index());
  check_device(index);
  if (!handle.starts_with(kIpcHandleText)) {
    throw_cuda_error(CudaError::kInvalidValue, "from_ipc_handle");
  }
  PyObject* self = new_event(reinterpret_cast<PyTypeObject*>(type), c10::EventFlag::PYTORCH_DEFAULT, true);
  if (self) {
    event_of(self).record(current_stream(index));
  }
  return self;
  END_HANDLE_TH_ERRORS
}

PyObject* get_device(PyObject* self, void* /*closure*/) {
  HANDLE_TH_ERRORS
  const auto& event = event_of(self);
  if (event.device_index() == -1) {
    Py_RETURN_NONE;
  }
  return THPDevice_New(event.device());
  END_HANDLE_TH_ERRORS
}

PyObject* get_event_handle(PyObject* self, void* /*closure*/) { return PyLong_FromVoidPtr(event_of(self).eventId()); }

}  // namespace

void add_events(PyObject* torch_c) {
  // The type keeps pointers to all of these.
  static PyMethodDef methods[] = {{"record", event_record, METH_O, nullptr},
                                  {"wait", event_wait, METH_O, nullptr},
                                  {"elapsed_time", event_elapsed_time, METH_O, nullptr},
                                  {"ipc_handle", event_ipc_handle, METH_NOARGS, nullptr},
                                  {"from_ipc_handle", castPyCFunctionWithKeywords(event_from_ipc_handle),
                                   METH_CLASS | METH_VARARGS | METH_KEYWORDS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef properties[] = {{"device", get_device, nullptr, nullptr, nullptr},
                                     {"cuda_event", get_event_handle, nullptr, nullptr, nullptr},
                                     {"event_id", get_event_handle, nullptr, nullptr, nullptr},
                                     {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(event_new)},
                                {Py_tp_methods, methods},
                                {Py_tp_getset, properties},
                                {0, nullptr}};
  static PyType_Spec spec = {"torch._C._CudaEventBase", sizeof(CudaEvent), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                             slots};
  THPObjectPtr bases(PyTuple_Pack(1, THPEventClass));
  if (!bases) {
    throw python_error();
  }
  THPObjectPtr type(PyType_FromSpecWithBases(&spec, bases));
  if (!type || PyModule_AddObjectRef(torch_c, "_CudaEventBase", type) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
