// python/CallSite.cpp: the line of the program that runs right now.

#include "python/CallSite.h"

#include <torch/csrc/utils/pybind.h>

#include <string_view>
#include <vector>

namespace torchdevice {
namespace {

/// The folders whose code is not the user's: torch's and ours, each with a separator at its end. Never freed, as
/// kernels may run when the interpreter is gone. No Python code runs here, which could let go of the interpreter's lock
/// while another thread waits for the folders with it.
const std::vector<std::string>& library_folders() {
  static const auto* folders = [] {
    auto* found = new std::vector<std::string>();
    for (const char* name : {"torch", "torchdevice"}) {
      const py::handle module = PyDict_GetItemString(PyImport_GetModuleDict(), name);
      const auto file = module.attr("__file__").cast<std::string>();
      found->push_back(file.substr(0, file.rfind('/') + 1));
    }
    return found;
  }();
  return *folders;
}

bool is_library_code(std::string_view file) {
  for (const std::string& folder : library_folders()) {
    if (file.starts_with(folder)) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string call_site() {
  if (Py_IsInitialized() == 0) {
    return {};
  }
  const py::gil_scoped_acquire gil;
  auto frame = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(PyEval_GetFrame()));
  while (frame && !frame.is_none()) {
    const auto file = frame.attr("f_code").attr("co_filename").cast<std::string>();
    if (!is_library_code(file)) {
      return file + ":" + std::to_string(PyFrame_GetLineNumber(reinterpret_cast<PyFrameObject*>(frame.ptr())));
    }
    frame = frame.attr("f_back");
  }
  return {};
}

}  // namespace torchdevice
