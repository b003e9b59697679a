// python/Devices.cpp: torch._C's functions about devices.

#include <ATen/Context.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/Generator.h>
#include <torch/csrc/utils/device_lazy_init.h>
#include <torch/csrc/utils/object_ptr.h>
#include <torch/csrc/utils/python_numbers.h>
#include <torch/csrc/utils/python_strings.h>

#include <string>

#include "native/Backend.h"
#include "python/Arguments.h"
#include "python/Bindings.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"
#include "runtime/Generator.h"
#include "runtime/Stream.h"
#include "settings/Settings.h"

namespace torchdevice {
namespace {

/// The CPU's memory survives a fork, so TORCHDEVICE_FORK=allow lets children go on where CUDA would refuse them. What a
/// GPU's driver has does not survive one.
bool fork_is_allowed() {
  static const bool allowed = read_setting("TORCHDEVICE_FORK") == "allow" && native_backend().works_on_host_memory();
  return allowed;
}

/// From here on children that this process forks are told that they cannot use CUDA, as in a CUDA build.
void poison_fork() {
  if (!fork_is_allowed()) {
    torch::utils::register_fork_handler_for_device_init(at::kCUDA);
  }
}

void lazy_init() { torch::utils::device_lazy_init(at::kCUDA); }

PyObject* cuda_init(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  poison_fork();
  at::globalContext().lazyInitDevice(at::kCUDA);
  THPObjectPtr torch_cuda(PyImport_ImportModule("torch.cuda"));
  if (!torch_cuda) {
    throw python_error();
  }
  THPObjectPtr generators(PyTuple_New(device_count()));
  if (!generators) {
    throw python_error();
  }
  for (c10::DeviceIndex i = 0; i < device_count(); ++i) {
    PyTuple_SET_ITEM(generators.get(), i, THPGenerator_initDefaultGenerator(default_cuda_generator(i)));
  }
  if (PyObject_SetAttrString(torch_cuda, "default_generators", generators) < 0) {
    throw python_error();
  }
  add_get_device_properties(torch_cuda);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* get_device_count(PyObject* /*self*/, PyObject* /*none*/) {
  poison_fork();
  return THPUtils_packDeviceIndex(device_count());
}

PyObject* is_in_bad_fork(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  return PyBool_FromLong(torch::utils::is_device_in_bad_fork(at::kCUDA));
  END_HANDLE_TH_ERRORS
}

PyObject* get_device(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  lazy_init();
  return THPUtils_packDeviceIndex(current_device());
  END_HANDLE_TH_ERRORS
}

PyObject* set_device(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  const auto index = device_argument(argument, "setDevice");
  lazy_init();
  set_current_device(index);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* exchange(PyObject* argument, const char* function) {
  HANDLE_TH_ERRORS
  const auto index = device_argument(argument, function);
  if (index < 0) {
    return THPUtils_packDeviceIndex(-1);
  }
  lazy_init();
  return THPUtils_packDeviceIndex(exchange_device(index));
  END_HANDLE_TH_ERRORS
}

PyObject* exchange_device_function(PyObject* /*self*/, PyObject* argument) {
  return exchange(argument, "exchangeDevice");
}

PyObject* maybe_exchange_device_function(PyObject* /*self*/, PyObject* argument) {
  return exchange(argument, "maybeExchangeDevice");
}

PyObject* can_access_peer(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  PyObject* device = nullptr;
  PyObject* peer = nullptr;
  if (!PyArg_ParseTuple(arguments, "OO", &device, &peer)) {
    throw python_error();
  }
  const auto from = device_argument(device, "canDeviceAccessPeer");
  const auto to = device_argument(peer, "canDeviceAccessPeer");
  lazy_init();
  check_device(from);
  check_device(to);
  return PyBool_FromLong(from != to);
  END_HANDLE_TH_ERRORS
}

PyObject* get_arch_flags(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  return THPUtils_packString(architecture_flags());
  END_HANDLE_TH_ERRORS
}

PyObject* get_compiled_version(PyObject* /*self*/, PyObject* /*none*/) { return PyLong_FromLong(cuda_release().cuda); }

PyObject* has_primary_context(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  const auto index = device_argument(argument, "has_primary_context");
  return PyBool_FromLong(at::globalContext().getAcceleratorHooksInterface(at::kCUDA).hasPrimaryContext(index));
  END_HANDLE_TH_ERRORS
}

PyObject* synchronize(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS {
    const pybind11::gil_scoped_release no_gil;
    synchronize_device(current_device());
  }
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* set_sync_debug(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  TORCH_WARN_ONCE(
      "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations");
  TORCH_CHECK(THPUtils_checkLong(argument), "invalid argument to set_sync_debug_mode");
  const auto mode = THPUtils_unpackLong(argument);
  TORCH_CHECK(mode >= 0 && mode <= 2, "invalid value of debug_mode, expected one of 0,1,2");
  set_sync_debug_mode(static_cast<SyncDebugMode>(mode));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* get_sync_debug(PyObject* /*self*/, PyObject* /*none*/) {
  return PyLong_FromLong(static_cast<long>(sync_debug_mode()));
}

PyObject* get_configured_device_count(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  return PyLong_FromLong(configured_device_count());
  END_HANDLE_TH_ERRORS
}

PyObject* get_device_uuids(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  const int count = configured_device_count();
  THPObjectPtr uuids(PyList_New(count));
  if (!uuids) {
    throw python_error();
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    PyObject* uuid = PyUnicode_FromString(("GPU-" + uuid_text(device_uuid(ordinal))).c_str());
    if (!uuid) {
      throw python_error();
    }
    PyList_SET_ITEM(uuids.get(), ordinal, uuid);
  }
  return uuids.release();
  END_HANDLE_TH_ERRORS
}

PyObject* get_cuda_version(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  return THPUtils_packString(cuda_release().cuda_text());
  END_HANDLE_TH_ERRORS
}

PyMethodDef patch_methods[] = {{"cuda_version", get_cuda_version, METH_NOARGS, nullptr},
                               {"configured_device_count", get_configured_device_count, METH_NOARGS, nullptr},
                               {"device_uuids", get_device_uuids, METH_NOARGS, nullptr},
                               {nullptr, nullptr, 0, nullptr}};

// Two functions where one would do: torch._dynamo refuses two names for the same function object.
PyMethodDef methods[] = {{"_cuda_init", cuda_init, METH_NOARGS, nullptr},
                         {"_cuda_getDeviceCount", get_device_count, METH_NOARGS, nullptr},
                         {"_cuda_isInBadFork", is_in_bad_fork, METH_NOARGS, nullptr},
                         {"_cuda_getDevice", get_device, METH_NOARGS, nullptr},
                         {"_cuda_setDevice", set_device, METH_O, nullptr},
                         {"_cuda_exchangeDevice", exchange_device_function, METH_O, nullptr},
                         {"_cuda_maybeExchangeDevice", maybe_exchange_device_function, METH_O, nullptr},
                         {"_cuda_canDeviceAccessPeer", can_access_peer, METH_VARARGS, nullptr},
                         {"_cuda_getArchFlags", get_arch_flags, METH_NOARGS, nullptr},
                         {"_cuda_getCompiledVersion", get_compiled_version, METH_NOARGS, nullptr},
                         {"_cuda_hasPrimaryContext", has_primary_context, METH_O, nullptr},
                         {"_cuda_synchronize", synchronize, METH_NOARGS, nullptr},
                         {"_cuda_set_sync_debug_mode", set_sync_debug, METH_O, nullptr},
                         {"_cuda_get_sync_debug_mode", get_sync_debug, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_devices(PyObject* torch_c) {
  if (PyModule_AddFunctions(torch_c, methods) < 0) {
    throw python_error();
  }
}

void add_device_patch(PyObject* torchdevice_c) {
  if (PyModule_AddFunctions(torchdevice_c, patch_methods) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
