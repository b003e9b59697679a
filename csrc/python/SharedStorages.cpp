// python/SharedStorages.cpp: torch.UntypedStorage's methods that torch.multiprocessing sends CUDA tensors with.

#include <pybind11/pybind11.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/Storage.h>
#include <torch/csrc/utils/device_lazy_init.h>
#include <torch/csrc/utils/object_ptr.h>
#include <torch/csrc/utils/python_numbers.h>

#include <string>
#include <utility>

#include "allocator/BorrowedMemory.h"
#include "python/Bindings.h"
#include "runtime/Device.h"
#include "runtime/SharedMemory.h"

namespace torchdevice {
namespace {

/// sizeof(cudaIpcEventHandle_t)
constexpr Py_ssize_t kEventHandleSize = 64;

// A handle travels as bytes: the file's name, a zero, the manager's name.
PyObject* bytes_of(const SharedHandle& handle) {
  const std::string bytes = handle.file + '\0' + handle.manager;
  return PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size()));
}

SharedHandle handle_of(PyObject* object) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(object, &data, &size) < 0) {
    throw python_error();
  }
  const std::string bytes(data, static_cast<size_t>(size));
  const auto zero = bytes.find('\0');
  TORCH_CHECK(zero != std::string::npos, "incorrect handle");
  return {bytes.substr(0, zero), bytes.substr(zero + 1)};
}

/// _share_cuda_() -> (device, handle, size_bytes, offset_bytes, ref_counter_handle, ref_counter_offset, event_handle,
/// event_sync_required). The reference counter lies in the file itself: its handle is the file's, its offset the size.
PyObject* share_cuda(PyObject* /*module*/, PyObject* self) {
  HANDLE_TH_ERRORS
  TORCH_CHECK_TYPE(THPStorage_Check(self), "_share_cuda_(): expected a torch.UntypedStorage, but got ",
                   Py_TYPE(self)->tp_name);
  THPStorage_assertNotNull(self);
  const c10::Storage storage = THPStorage_Unpack(self);
  TORCH_CHECK(storage.device_type() == at::kCUDA, "_share_cuda_: only available on CUDA");
  torch::utils::device_lazy_init(at::kCUDA);
  const int device = storage.device().index();
  const auto nbytes = static_cast<Py_ssize_t>(storage.nbytes());
  if (storage.data() == nullptr) {
    return Py_BuildValue("(iOniOiOO)", device, Py_None, nbytes, 0, Py_None, 0, Py_None, Py_None);
  }
  check_borrowed(*storage.unsafeGetStorageImpl());
  SharedHandle handle;
  {
    const pybind11::gil_scoped_release no_gil;
    handle = share_storage(*storage.unsafeGetStorageImpl());
  }
  THPObjectPtr bytes(bytes_of(handle));
  const std::string no_event(kEventHandleSize, '\0');
  if (!bytes) {
    throw python_error();
  }
  return Py_BuildValue("(iOniOny#O)", device, bytes.get(), nbytes, 0, bytes.get(), nbytes, no_event.data(),
                       kEventHandleSize, Py_False);
  END_HANDLE_TH_ERRORS
}

PyObject* new_shared_cuda(PyObject* /*module*/, PyObject* args) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(PyTuple_GET_SIZE(args) == 8, "tuple of 8 items expected");
  int index = 0;
  Py_ssize_t nbytes = 0;
  Py_ssize_t offset = 0;
  Py_ssize_t counter_offset = 0;
  PyObject* handle = nullptr;
  PyObject* counter = nullptr;
  PyObject* event = nullptr;
  PyObject* event_sync_required = nullptr;
  if (!PyArg_ParseTuple(args, "iO!nnO!nO!O!:_new_shared_cuda", &index, &PyBytes_Type, &handle, &nbytes, &offset,
                        &PyBytes_Type, &counter, &counter_offset, &PyBytes_Type, &event, &PyBool_Type,
                        &event_sync_required)) {
    throw python_error();
  }
  torch::utils::device_lazy_init(at::kCUDA);
  const auto device = device_index_of(index);
  check_device(device);
  // The sender's offset is always 0.
  TORCH_CHECK(nbytes >= 0 && offset == 0, "incorrect handle");
  const auto shared = handle_of(handle);
  c10::Storage storage;
  {
    const pybind11::gil_scoped_release no_gil;
    storage = c10::Storage(open_shared(shared, static_cast<size_t>(nbytes), {c10::kCUDA, device}));
  }
  return THPStorage_NewWithStorage(THPStorageClass, std::move(storage));
  END_HANDLE_TH_ERRORS
}

PyObject* release_ipc_counter(PyObject* /*module*/, PyObject* args) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(PyTuple_GET_SIZE(args) == 2, "tuple of 2 items expected");
  PyObject* counter = nullptr;
  Py_ssize_t nbytes = 0;
  if (!PyArg_ParseTuple(args, "O!n:_release_ipc_counter", &PyBytes_Type, &counter, &nbytes)) {
    throw python_error();
  }
  release_shared(handle_of(counter), static_cast<size_t>(nbytes));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyMethodDef share_method = {"_share_cuda_", share_cuda, METH_O, nullptr};
PyMethodDef sharing_functions[] = {{"new_shared_cuda", new_shared_cuda, METH_VARARGS, nullptr},
                                   {"release_ipc_counter_cuda", release_ipc_counter, METH_VARARGS, nullptr},
                                   {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_sharing_patch(PyObject* torchdevice_c) {
  // An instance method, so that a storage's `_share_cuda_` passes the storage; a function written in C would not.
  THPObjectPtr function(PyCFunction_New(&share_method, nullptr));
  THPObjectPtr method(function ? PyInstanceMethod_New(function) : nullptr);
  if (!method || PyModule_AddObjectRef(torchdevice_c, "share_cuda", method) < 0) {
    throw python_error();
  }
  if (PyModule_AddFunctions(torchdevice_c, sharing_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
