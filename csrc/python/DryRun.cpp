// python/DryRun.cpp: what a dry run has seen, for torchdevice/fit.

#include <torch/csrc/jit/python/pybind_utils.h>
#include <torch/csrc/utils/pybind.h>

#include <utility>

#include "dry/HostReads.h"
#include "dry/Kernel.h"
#include "dry/Kernels.h"
#include "python/Bindings.h"
#include "python/CallSite.h"

namespace torchdevice {
namespace {

py::list to_python(const torch::jit::Stack& values) {
  py::list list;
  for (const c10::IValue& value : values) {
    list.append(torch::jit::toPyObject(value));
  }
  return list;
}

/// Of each kind of call: operator, overload, device, how often, how often in the last step, arguments and results,
/// which are tensors without data.
py::list dry_calls() {
  py::list all;
  for (const dry::RecordedCall& call : dry::recorded_calls()) {
    const c10::OperatorName& name = call.op->operator_name();
    all.append(py::make_tuple(name.name, name.overload_name, call.device, call.count, call.in_step,
                              to_python(*call.arguments), to_python(*call.results)));
  }
  return all;
}

/// (what was read, where, how often)
py::list dry_host_reads() {
  py::list all;
  for (const auto& [read, count] : dry::host_reads()) {
    all.append(py::make_tuple(read.first, read.second, count));
  }
  return all;
}

py::dict dry_copied_bytes() {
  const dry::CopiedBytes copied = dry::copied_bytes();
  py::dict bytes;
  bytes["to_device"] = copied.to_device;
  bytes["to_host"] = copied.to_host;
  bytes["between_devices"] = copied.between_devices;
  return bytes;
}

}  // namespace

void add_dry_run(PyObject* torchdevice_c) {
  dry::set_call_site_reader(&call_site);
  auto module = py::reinterpret_borrow<py::module_>(torchdevice_c);
  module.def("is_dry_run", &dry::is_on);
  module.def("dry_end_step", &dry::end_step);
  module.def("dry_calls", &dry_calls);
  module.def("dry_host_reads", &dry_host_reads);
  module.def("dry_copied_bytes", &dry_copied_bytes);
}

}  // namespace torchdevice
