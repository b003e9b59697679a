// python/Check.cpp: the findings of csrc/check for torchdevice/check/, and the Python stacks in them.

#include <torch/csrc/utils/pybind.h>

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "check/Checker.h"
#include "check/Findings.h"
#include "python/Bindings.h"

namespace torchdevice {
namespace {

using check::StackId;

/// A line of Python code; the code object is kept for ever.
struct Line {
  PyCodeObject* code;
  int number;
  bool operator==(const Line&) const = default;
};
using Lines = std::vector<Line>;

struct LinesHash {
  size_t operator()(const Lines& lines) const noexcept {
    size_t hash = 0;
    for (const Line& line : lines) {
      hash = (hash ^ reinterpret_cast<size_t>(line.code) ^ static_cast<size_t>(line.number)) * 0x9E3779B97F4A7C15;
    }
    return hash;
  }
};

/// All stacks that were seen. With the interpreter's lock.
struct Stacks {
  std::unordered_map<Lines, StackId, LinesHash> ids;
  std::vector<const Lines*> all;
};
Stacks& stacks() {
  static auto* const known = new Stacks();
  return *known;
}

constexpr size_t kDeepest = 64;  ///< lines of a stack, the innermost ones

bool python_runs() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsInitialized() != 0 && Py_IsFinalizing() == 0;
#else
  return Py_IsInitialized() != 0 && _Py_IsFinalizing() == 0;
#endif
}

StackId read_python_stack() {
  if (!python_runs()) {
    return 0;
  }
  const py::gil_scoped_acquire gil;
  PyFrameObject* frame = PyEval_GetFrame();
  if (frame == nullptr) {
    return 0;
  }
  static Lines lines;  // of the thread that has the interpreter's lock
  lines.clear();
  Py_INCREF(frame);
  while (frame != nullptr && lines.size() < kDeepest) {
    PyCodeObject* code = PyFrame_GetCode(frame);
    lines.push_back({code, PyFrame_GetLineNumber(frame)});
    Py_DECREF(code);  // the frame holds it
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  Py_XDECREF(frame);
  const auto known = stacks().ids.find(lines);
  if (known != stacks().ids.end()) {
    return known->second;
  }
  const auto id = static_cast<StackId>(stacks().all.size() + 1);
  for (const Line& line : lines) {
    Py_INCREF(line.code);
  }
  stacks().all.push_back(&stacks().ids.emplace(lines, id).first->first);
  return id;
}

/// (file, line, function), the innermost first.
py::list describe_stack(StackId id) {
  py::list frames;
  if (id != 0) {
    for (const Line& line : *stacks().all[id - 1]) {
      const py::handle code(reinterpret_cast<PyObject*>(line.code));
      frames.append(py::make_tuple(code.attr("co_filename"), line.number, code.attr("co_name")));
    }
  }
  return frames;
}

/// Of each: kind, explanation, remedy, count, and its places: what, argument, stream, stack.
py::list check_findings() {
  py::list all;
  for (const check::Finding& finding : check::findings().list()) {
    py::list places;
    for (const check::Place& place : finding.places) {
      places.append(py::make_tuple(place.what, place.argument, place.stream, describe_stack(place.stack)));
    }
    all.append(py::make_tuple(finding.kind, finding.explanation, finding.remedy, finding.count, std::move(places)));
  }
  return all;
}

/// Of each place where the host waited: operator, stack, how often, for how many operators.
py::list check_waits() {
  py::list all;
  for (const check::Wait& wait : check::waits()) {
    all.append(py::make_tuple(wait.what, describe_stack(wait.stack), wait.count, wait.operators));
  }
  return all;
}

}  // namespace

void add_check(PyObject* torchdevice_c) {
  check::set_stack_reader(&read_python_stack);
  auto module = py::reinterpret_borrow<py::module_>(torchdevice_c);
  module.def("is_checking", &check::is_checking);
  module.def("check_findings", &check_findings);
  module.def("check_waits", &check_waits);
}

}  // namespace torchdevice
