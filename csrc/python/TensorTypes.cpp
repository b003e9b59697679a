// python/TensorTypes.cpp: torch.cuda.FloatTensor(...) and torch.set_default_tensor_type() for CUDA's tensor types.

#include <torch/csrc/Dtype.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/Layout.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/tensor/python_tensor.h>
#include <torch/csrc/utils/device_lazy_init.h>
#include <torch/csrc/utils/object_ptr.h>
#include <torch/csrc/utils/tensor_new.h>

#include <cstring>

#include "python/Bindings.h"

namespace torchdevice {
namespace {

newfunc original_type_new = nullptr;

THPObjectPtr attribute(PyObject* object, const char* name) {
  THPObjectPtr value(PyObject_GetAttrString(object, name));
  if (!value) {
    throw python_error();
  }
  return value;
}

bool is_cuda_type(PyObject* type) { return attribute(type, "is_cuda").get() == Py_True; }

// What torch's own tp_new does once it has found that CUDA is enabled.
PyObject* cuda_tensor_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  HANDLE_TH_ERRORS
  TORCH_WARN_ONCE(
      "The torch.cuda.*DtypeTensor constructors are no longer recommended. It's best to use methods such as "
      "torch.tensor(data, dtype=*, device='cuda') to create tensors.");
  auto* object = reinterpret_cast<PyObject*>(type);
  auto dtype = attribute(object, "dtype");
  auto layout = attribute(object, "layout");
  const bool sparse = reinterpret_cast<THPLayout*>(layout.get())->layout == at::kSparse;
  torch::utils::device_lazy_init(at::kCUDA);
  return THPVariable_Wrap(
      torch::utils::legacy_tensor_ctor(sparse ? c10::DispatchKey::SparseCUDA : c10::DispatchKey::CUDA,
                                       reinterpret_cast<THPDtype*>(dtype.get())->scalar_type, args, kwargs));
  END_HANDLE_TH_ERRORS
}

// Note [The type's CUDA flag]
// torch refuses a type whose is_cuda is set when it was built without CUDA, in the same function that makes the type
// the default, and the default itself is private. So the flag is cleared while that function runs, under the GIL. It
// is the first bool after the type object and two pointers (dtype, layout). See Note [Undefined on purpose].
bool* cuda_flag(PyObject* type) {
  return reinterpret_cast<bool*>(reinterpret_cast<char*>(type) + sizeof(PyTypeObject) + 2 * sizeof(void*));
}

class ClearedCudaFlag {
 public:
  explicit ClearedCudaFlag(PyObject* type) : flag_(cuda_flag(type)) { *flag_ = false; }
  ~ClearedCudaFlag() { *flag_ = true; }
  ClearedCudaFlag(const ClearedCudaFlag&) = delete;
  ClearedCudaFlag& operator=(const ClearedCudaFlag&) = delete;

 private:
  bool* flag_;
};

PyTypeObject* tensor_type_metaclass() {
  THPObjectPtr torch(PyImport_ImportModule("torch"));
  if (!torch) {
    throw python_error();
  }
  return Py_TYPE(attribute(torch, "FloatTensor").get());
}

PyObject* set_default_tensor_type(PyObject* /*self*/, PyObject* type) {
  HANDLE_TH_ERRORS
  if (Py_TYPE(type) == tensor_type_metaclass() && is_cuda_type(type)) {
    const ClearedCudaFlag cleared(type);
    torch::tensors::py_set_default_tensor_type(type);
  } else {
    torch::tensors::py_set_default_tensor_type(type);
  }
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

/// Give tp_new to every CUDA type among a module's attributes.
void set_new(PyObject* module, PyTypeObject* metaclass, newfunc function) {
  PyObject* value = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(PyModule_GetDict(module), &position, nullptr, &value)) {
    if (Py_TYPE(value) != metaclass || !is_cuda_type(value)) {
      continue;
    }
    auto* type = reinterpret_cast<PyTypeObject*>(value);
    if (!original_type_new) {
      original_type_new = type->tp_new;
    }
    type->tp_new = function;
  }
}

void set_all_new(newfunc function) {
  auto* metaclass = tensor_type_metaclass();
  for (const char* name : {"torch.cuda", "torch.cuda.sparse"}) {
    THPObjectPtr module(PyImport_ImportModule(name));
    if (!module) {
      throw python_error();
    }
    set_new(module, metaclass, function);
  }
}

/// Whether the flag is where the note says; a torch laid out otherwise must not be written to.
bool layout_is_known() {
  THPObjectPtr torch(PyImport_ImportModule("torch"));
  THPObjectPtr torch_cuda(PyImport_ImportModule("torch.cuda"));
  if (!torch || !torch_cuda) {
    throw python_error();
  }
  auto cpu = attribute(torch, "FloatTensor");
  auto cuda = attribute(torch_cuda, "FloatTensor");
  const auto flag = [](PyObject* type) {
    unsigned char byte = 0;
    std::memcpy(&byte, cuda_flag(type), 1);
    return byte;
  };
  return flag(cpu) == 0 && flag(cuda) == 1;
}

PyObject* install_tensor_types(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  TORCH_CHECK(layout_is_known(), "torchdevice does not know the layout of this torch's tensor types");
  set_all_new(cuda_tensor_new);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* uninstall_tensor_types(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  if (original_type_new) {
    set_all_new(original_type_new);
  }
  original_type_new = nullptr;
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyMethodDef tensor_type_functions[] = {{"install_tensor_types", install_tensor_types, METH_NOARGS, nullptr},
                                       {"uninstall_tensor_types", uninstall_tensor_types, METH_NOARGS, nullptr},
                                       {"set_default_tensor_type", set_default_tensor_type, METH_O, nullptr},
                                       {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_tensor_type_patch(PyObject* torchdevice_c) {
  if (PyModule_AddFunctions(torchdevice_c, tensor_type_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
