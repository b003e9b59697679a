// python/Names.cpp: the names that a CUDA build has on torch._C, in modules of ours.

#include "python/Names.h"

#include <string>

#include "python/Bindings.h"

namespace torchdevice {
namespace {

py::module_ new_module(const std::string& name) {
  return py::reinterpret_steal<py::module_>(PyModule_New(name.c_str()));
}

py::module_ make_names() {
  py::module_ names = new_module("torch._C");
  PyObject* torch_c = names.ptr();
  add_devices(torch_c);
  add_properties(torch_c);
  add_streams(torch_c);
  add_events(torch_c);
  add_memory(torch_c);
  add_graphs(torch_c);
  add_communication(torch_c);
  add_graph_trees(torch_c);
  add_pinned_memory(torch_c);
  add_memory_pools(torch_c);
  add_memory_history(torch_c);
  add_memory_snapshot(torch_c);
  add_runtime(torch_c);
  add_libraries(torch_c);
  add_nccl(torch_c);
  add_distributed(torch_c);
  add_tunable(torch_c);
  add_gds(torch_c);
  add_inductor(torch_c);
  return names;
}

}  // namespace

py::module_ add_submodule(const py::module_& parent, const char* name) {
  py::module_ module = new_module(py::cast<std::string>(parent.attr("__name__")) + "." + name);
  py::setattr(parent, name, module);
  return module;
}

py::module_ names_of_a_cuda_build() {
  static const auto* names = new py::module_(make_names());
  return *names;
}

}  // namespace torchdevice
