// python/Storages.cpp: torch.UntypedStorage on CUDA, which a CPU build of torch compiles out.

#include <c10/core/DeviceGuard.h>
#include <torch/csrc/Device.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/Storage.h>
#include <torch/csrc/utils/device_lazy_init.h>
#include <torch/csrc/utils/object_ptr.h>
#include <torch/csrc/utils/python_arg_parser.h>
#include <torch/csrc/utils/python_numbers.h>
#include <torch/csrc/utils/python_strings.h>

#include <optional>

#include "allocator/CachingAllocator.h"
#include "allocator/StorageResize.h"
#include "python/Bindings.h"

namespace torchdevice {
namespace {

newfunc original_storage_new = nullptr;

PyTypeObject* untyped_storage() {
  TORCH_INTERNAL_ASSERT(THPStorageClass, "torch.UntypedStorage does not exist yet");
  return THPStorageClass;
}

/// The CUDA device asked for by the keyword `device`, where it is asked for at all.
std::optional<c10::Device> cuda_device_argument(PyObject* kwargs) {
  PyObject* device = kwargs ? PyDict_GetItemString(kwargs, "device") : nullptr;
  // What is no device is left to torch, which says so in its own words.
  const bool is_device =
      device && (THPDevice_Check(device) || THPUtils_checkString(device) || THPUtils_checkLong(device));
  if (!is_device || PyDict_GetItemString(kwargs, "allocator")) {
    return std::nullopt;
  }
  static torch::PythonArgParser parser({"device(Device device)"}, /*traceable=*/false);
  torch::ParsedArgs<1> parsed;
  THPObjectPtr args(PyTuple_Pack(1, device));
  if (!args) {
    throw python_error();
  }
  const auto parsed_device = parser.parse(args.get(), nullptr, parsed).device(0);
  return parsed_device.is_cuda() ? std::optional(parsed_device) : std::nullopt;
}

// torch knows how to make a storage with a given allocator, so device="cuda" becomes our allocator under a guard.
PyObject* storage_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  HANDLE_TH_ERRORS
  const auto device = cuda_device_argument(kwargs);
  if (!device) {
    return original_storage_new(type, args, kwargs);
  }
  torch::utils::device_lazy_init(c10::kCUDA);
  const c10::DeviceGuard guard(*device);
  THPObjectPtr changed(PyDict_Copy(kwargs));
  c10::Allocator* allocator = &caching_allocator();
  THPObjectPtr address(PyLong_FromVoidPtr(allocator));
  if (!changed || !address || PyDict_DelItemString(changed, "device") < 0 ||
      PyDict_SetItemString(changed, "allocator", address) < 0) {
    throw python_error();
  }
  return original_storage_new(type, args, changed);
  END_HANDLE_TH_ERRORS
}

PyObject* original_method(const char* name) {
  return PyObject_GetAttrString(reinterpret_cast<PyObject*>(untyped_storage()->tp_base), name);
}

PyObject* storage_resize(PyObject* self, PyObject* size) {
  HANDLE_TH_ERRORS
  THPStorage_assertNotNull(self);
  const auto& storage = THPStorage_Unpack(self);
  if (!storage.device().is_cuda()) {
    THPObjectPtr original(original_method("resize_"));
    return original ? PyObject_CallFunctionObjArgs(original, self, size, nullptr) : nullptr;
  }
  TORCH_CHECK(THPUtils_checkLong(size), "resize_ expects an int, but got ", Py_TYPE(size)->tp_name);
  const auto nbytes = THPUtils_unpackLong(size);
  TORCH_CHECK(nbytes >= 0, "resize_ expects a size of at least 0 bytes, but got ", nbytes);
  resize_storage(*storage.unsafeGetStorageImpl(), static_cast<size_t>(nbytes));
  return Py_NewRef(self);
  END_HANDLE_TH_ERRORS
}

PyMethodDef resize_method = {"resize_", storage_resize, METH_O, nullptr};

// StorageBase is a static type and UntypedStorage inherits its tp_new by value: both slots name the same function.
void set_new(newfunc function) {
  untyped_storage()->tp_base->tp_new = function;
  untyped_storage()->tp_new = function;
}

PyObject* install_storages(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  if (original_storage_new) {
    Py_RETURN_NONE;
  }
  auto* type = untyped_storage();
  TORCH_CHECK(type->tp_base && type->tp_new == type->tp_base->tp_new,
              "torchdevice cannot extend torch.UntypedStorage: something else has replaced its constructor");
  THPObjectPtr resize(PyDescr_NewMethod(type, &resize_method));
  if (!resize || PyObject_SetAttrString(reinterpret_cast<PyObject*>(type), "resize_", resize) < 0) {
    throw python_error();
  }
  original_storage_new = type->tp_new;
  set_new(storage_new);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* uninstall_storages(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  if (!original_storage_new) {
    Py_RETURN_NONE;
  }
  if (PyObject_DelAttrString(reinterpret_cast<PyObject*>(untyped_storage()), "resize_") < 0) {
    throw python_error();
  }
  set_new(original_storage_new);
  original_storage_new = nullptr;
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyMethodDef storage_functions[] = {{"install_storages", install_storages, METH_NOARGS, nullptr},
                                   {"uninstall_storages", uninstall_storages, METH_NOARGS, nullptr},
                                   {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_storage_patch(PyObject* torchdevice_c) {
  if (PyModule_AddFunctions(torchdevice_c, storage_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
