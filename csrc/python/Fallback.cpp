// python/Fallback.cpp: what ran on the CPU because the native backend lacks it.

#include <torch/csrc/utils/pybind.h>

#include "forward/Choice.h"
#include "native/MpsCounts.h"
#include "python/Names.h"

namespace torchdevice {
namespace {

py::dict fallback_counts() {
  py::dict operators;
  for (const forward::OperatorRecord* record : forward::operator_records()) {
    operators[py::str(record->name())] = py::make_tuple(record->native_calls.load(), record->host_calls.load());
  }
  py::dict counts;
  counts["operators"] = operators;
  counts["synchronizations"] = mps_counts.synchronizations.load();
  counts["transitions"] = mps_counts.transitions.load();
  counts["copied_bytes"] = mps_counts.copied_bytes.load();
  return counts;
}

}  // namespace

void add_fallback_counts(PyObject* torchdevice_c) {
  py::reinterpret_borrow<py::module_>(torchdevice_c).def("fallback_counts", &fallback_counts);
}

}  // namespace torchdevice
