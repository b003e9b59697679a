// python/Report.cpp: what ran natively and what on the CPU, for torchdevice.report() and for tests.

#include <torch/csrc/utils/pybind.h>

#include <string>
#include <string_view>
#include <vector>

#include "forward/fallback/OperatorRecord.h"
#include "native/Backend.h"
#include "python/Bindings.h"

namespace torchdevice {
namespace {

py::dict fallback_counts() {
  py::dict operators;
  for (const forward::OperatorRecord* record : forward::operator_records()) {
    operators[py::str(record->name())] = py::make_tuple(record->native.calls.load(), record->host.calls.load());
  }
  py::dict counts;
  counts["operators"] = operators;
  const NativeCounts native = native_backend().counts();
  counts["synchronizations"] = native.synchronizations;
  counts["transitions"] = native.transitions;
  counts["copied_bytes"] = native.copied_bytes;
  return counts;
}

py::tuple read(const forward::Tally& tally) {
  const std::string* site = tally.call_site.load();
  return py::make_tuple(tally.calls.load(), tally.bytes.load(), tally.nanoseconds.load(), site != nullptr ? *site : "");
}

/// Of each operator: name, tally of the native backend, tally of the CPU, why it first ran there.
py::list operator_tallies() {
  py::list all;
  for (const forward::OperatorRecord* record : forward::operator_records()) {
    all.append(py::make_tuple(record->name(), read(record->native), read(record->host), record->reason()));
  }
  return all;
}

/// Of each rule: the operators, what is wrong, what is done instead, where that is known from.
py::list known_wrong() {
  py::list all;
  for (const KnownWrong& rule : native_backend().known_wrong()) {
    py::list operators;
    for (const KnownWrong::Operator& op : rule.operators) {
      operators.append(op.name);
    }
    all.append(py::make_tuple(std::move(operators), rule.what, rule.instead, rule.source));
  }
  return all;
}

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

/// The innermost line that is neither torch's nor ours; where there is none, as in a thread of torch's, nothing.
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

}  // namespace

void add_report(PyObject* torchdevice_c) {
  forward::set_call_site_reader(&call_site);
  auto module = py::reinterpret_borrow<py::module_>(torchdevice_c);
  module.def("fallback_counts", &fallback_counts);
  module.def("operator_tallies", &operator_tallies);
  module.def("known_wrong", &known_wrong);
  module.def("report_is_on", &forward::report_is_on);
  module.def("waited_nanoseconds", [] { return native_backend().counts().waited_nanoseconds; });
}

}  // namespace torchdevice
