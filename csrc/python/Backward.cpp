// python/Backward.cpp: keeps a backward pass's Python context from dying in a thread of the autograd engine.

#include <ATen/ThreadLocalPythonObjects.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/python_strings.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "python/Names.h"

namespace torchdevice {
namespace {

using SharedObject = std::shared_ptr<c10::SafePyObject>;

// Note [The last reference to a backward's context]
// torch 2.13 gives every backward pass the caller's contextvars and takes them away when the pass has returned. A
// device thread of the engine may still hold them for a moment, and then drops the last reference, for which it needs
// the GIL. If the program ends in that moment, the interpreter kills the thread inside a destructor and the process
// aborts
// ("terminate called without an active exception"). So what a device thread still shares stays here until a later pass
// finds it unshared. Guarded by the GIL.
std::vector<SharedObject>& shared_contexts() {
  static auto* contexts = new std::vector<SharedObject>();
  return *contexts;
}

/// Takes out what no other thread holds; the caller drops it when the list is consistent again.
std::vector<SharedObject> take_unshared() {
  auto& contexts = shared_contexts();
  const auto unshared =
      std::stable_partition(contexts.begin(), contexts.end(), [](const SharedObject& o) { return o.use_count() > 1; });
  std::vector<SharedObject> taken(std::make_move_iterator(unshared), std::make_move_iterator(contexts.end()));
  contexts.erase(unshared, contexts.end());
  return taken;
}

PyObject* remove_obj_from_tls(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  using Objects = at::impl::ThreadLocalPythonObjects;
  TORCH_CHECK_TYPE(THPUtils_checkString(argument), "_remove_obj_from_tls(): expected a str, but got ",
                   Py_TYPE(argument)->tp_name);
  const auto key = THPUtils_unpackString(argument);
  const auto unshared = take_unshared();
  if (!Objects::contains(key)) Py_RETURN_NONE;
  auto object = Objects::get(key);
  Objects::erase(key);
  if (object.use_count() > 1) shared_contexts().push_back(std::move(object));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyMethodDef functions[] = {{"remove_obj_from_tls", remove_obj_from_tls, METH_O, nullptr},
                           {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_backward_patch(PyObject* torchdevice_c) {
  if (PyModule_AddFunctions(torchdevice_c, functions) < 0) throw python_error();
}

}  // namespace torchdevice
