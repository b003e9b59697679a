// python/Report.cpp: what ran natively and what on the CPU, for torchdevice.report() and for tests.

#include <torch/csrc/utils/pybind.h>

#include <string>

#include "forward/fallback/OperatorRecord.h"
#include "native/Backend.h"
#include "python/Bindings.h"
#include "python/CallSite.h"

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
