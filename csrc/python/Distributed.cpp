// python/Distributed.cpp: what torch._C._distributed_c10d has in a CUDA build: ProcessGroupNCCL and its options.

#include <c10/util/hash.h>
#include <c10/util/thread_name.h>
#include <pybind11/chrono.h>
#include <torch/csrc/jit/python/pybind_utils.h>
#include <torch/csrc/utils/pybind.h>

#include <system_error>
#include <thread>

#include "distributed/Interfaces.h"
#include "distributed/NativeTensors.h"
#include "distributed/ProcessGroupNCCL2.h"
#include "python/Bindings.h"
#include "python/Names.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice {
namespace {

using distributed::NcclConfig;
using distributed::ProcessGroupNCCL;
using distributed::ProcessGroupNCCL2;
using distributed::ProcessGroupNCCLLazy;
using distributed::Transport;
using Options = ProcessGroupNCCL::Options;
using Milliseconds = std::chrono::milliseconds;

using Gloo = c10::intrusive_ptr<c10d::Backend>;

/// gloo's destructor joins its threads. They may be waiting for the GIL, so nobody may hold it meanwhile; and if a
/// callback on one of them held the last reference, another thread has to join them.
void release_gloo(Gloo gloo) {
  if (c10::getThreadName() == "pt_gloo_runloop") {
    auto* last = gloo.release();
    try {
      std::thread([last] { Gloo::reclaim(last); }).detach();
      // NOLINTNEXTLINE(bugprone-empty-catch): without a thread it stays for ever, as this one cannot join itself
    } catch (const std::system_error&) {
    }
  } else if (Py_IsInitialized() != 0 && PyGILState_Check() != 0) {
    const py::gil_scoped_release no_gil;
    gloo.reset();
  }
}

Transport connect_gloo(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, Milliseconds timeout) {
  const py::gil_scoped_acquire gil;
  const py::object type = py::module_::import("torch._C._distributed_c10d").attr("ProcessGroupGloo");
  const auto interface = distributed::nccl_interface();
  py::object group;
  if (interface.has_value()) {
    py::list devices;
    devices.append(type.attr("create_device")(py::arg("interface") = *interface));
    const py::object options = type.attr("_Options")();
    options.attr("_timeout") = timeout;
    options.attr("_devices") = devices;
    group = type(store, rank, size, options);
  } else {
    group = type(store, rank, size, timeout);
  }
  auto gloo = group.cast<Gloo>();
  auto* raw = gloo.get();
  return {raw, [gloo = std::move(gloo)](c10d::Backend* /*raw*/) mutable { release_gloo(std::move(gloo)); }};
}

[[noreturn]] void no_nccl(const char* name) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, name,
                              ": torchdevice has no NCCL, so there is nothing to point to; torch.distributed's "
                              "collectives on 'cuda' go over gloo.");
}

std::tuple<int, int, int> nccl_version() {
  const auto& [major, minor, patch] = cuda_release().nccl;
  return {major, minor, patch};
}

/// What torch logs of objects under TORCH_DISTRIBUTED_DEBUG=DETAIL, to compare it between ranks.
size_t hash_tensors(const distributed::Tensors& tensors) {
  size_t hash = 0;
  for (const at::Tensor& native : distributed::native_tensors(tensors)) {
    const auto contiguous = native.contiguous();
    const auto* bytes = static_cast<const uint8_t*>(contiguous.const_data_ptr());
    for (size_t i = 0; i < contiguous.nbytes(); ++i) {
      hash = c10::hash_combine(hash, bytes[i]);
    }
  }
  return hash;
}

void add_config(const py::object& group) {
  py::class_<NcclConfig>(group, "NCCLConfig", "ncclConfig_t: kept, but there is no NCCL that it could configure.")
      .def(py::init<>())
      .def_readwrite("blocking", &NcclConfig::blocking)
      .def_readwrite("cga_cluster_size", &NcclConfig::cga_cluster_size)
      .def_readwrite("min_ctas", &NcclConfig::min_ctas)
      .def_readwrite("max_ctas", &NcclConfig::max_ctas)
      .def_readwrite("split_share", &NcclConfig::split_share)
      .def_readwrite("shrink_share", &NcclConfig::shrink_share)
      .def_readwrite("traffic_class", &NcclConfig::traffic_class)
      .def_readwrite("collnet_enable", &NcclConfig::collnet_enable)
      .def_readwrite("cta_policy", &NcclConfig::cta_policy)
      .def_readwrite("nvls_ctas", &NcclConfig::nvls_ctas)
      .def_readwrite("net_name", &NcclConfig::net_name)
      .def_readwrite("comm_name", &NcclConfig::comm_name)
      .def("unsafe_get_ptr", [](const NcclConfig&) { no_nccl("NCCLConfig.unsafe_get_ptr"); })
      .def("__copy__", [](const NcclConfig& self) { return NcclConfig(self); })
      .def("__deepcopy__", [](const NcclConfig& self, const py::dict& /*memo*/) { return NcclConfig(self); });
}

void add_options(const py::object& group, const py::object& base) {
  const auto copy = [](const Options& self) { return c10::make_intrusive<Options>(self); };
  py::class_<Options, c10::intrusive_ptr<Options>>(group, "Options", base, "Options of the backend nccl")
      .def(py::init<bool>(), py::arg("is_high_priority_stream") = false)
      .def_readwrite("is_high_priority_stream", &Options::is_high_priority_stream)
      .def_readwrite("config", &Options::config)
      .def_readwrite("split_from", &Options::split_from)
      .def_readwrite("split_color", &Options::split_color)
      .def("__copy__", copy)
      .def("__deepcopy__", [copy](const Options& self, const py::dict& /*memo*/) { return copy(self); });
}

void add_group(py::module_& c10d, const py::module_& torchs) {
  using Self = c10::intrusive_ptr<ProcessGroupNCCL>;
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  py::class_<ProcessGroupNCCL, Self> group(c10d, "ProcessGroupNCCL", torchs.attr("Backend"));
  add_config(group);
  add_options(group, torchs.attr("Backend").attr("Options"));
  group
      .def(py::init([](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                       const c10::intrusive_ptr<Options>& options) {
             return c10::make_intrusive<ProcessGroupNCCL>(store, rank, size, options, &connect_gloo);
           }),
           py::arg("store"), py::arg("rank"), py::arg("size"), py::arg("options"), no_gil)
      .def(py::init([](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, Milliseconds timeout) {
             auto options = c10::make_intrusive<Options>();
             options->timeout = timeout;
             return c10::make_intrusive<ProcessGroupNCCL>(store, rank, size, std::move(options), &connect_gloo);
           }),
           py::arg("store"), py::arg("rank"), py::arg("size"), py::arg("timeout") = ProcessGroupNCCL::kDefaultTimeout,
           no_gil)
      .def_property_readonly("options", &ProcessGroupNCCL::options)
      .def_property_readonly("uid", &ProcessGroupNCCL::uid)
      .def_property("bound_device_id", &ProcessGroupNCCL::getBoundDeviceId, &ProcessGroupNCCL::setBoundDeviceId)
      .def("comm_split_count", &ProcessGroupNCCL::split_count)
      .def("perform_nocolor_split", [](const Self& self, c10::Device) { self->count_split(); })
      .def("_set_default_timeout", &ProcessGroupNCCL::setTimeout, py::arg("timeout"), no_gil)
      .def("_add_ephemeral_timeout", &ProcessGroupNCCL::addEphemeralTimeout, py::arg("timeout"))
      .def("_is_initialized", [](const Self&) { return true; })
      .def(
          "_group_start", [](const Self&) {}, "Nothing: collectives of several groups do not wait for each other.")
      .def("_group_end", [](const Self&) {})
      .def("_shutdown", &ProcessGroupNCCL::shutdown, no_gil)
      .def("abort", &ProcessGroupNCCL::abort, no_gil)
      .def(
          "register_mem_pool", [](const Self&, const py::object&, bool) {}, py::arg("pool"), py::arg("symm") = false,
          "Nothing: all memory of the device can be sent.")
      .def(
          "deregister_mem_pool", [](const Self&, const py::object&) {}, py::arg("pool"))
      .def("_comm_ptr", [](const Self&) { no_nccl("ProcessGroupNCCL._comm_ptr"); })
      .def_static("get_build_nccl_version", &nccl_version)
      .def_static("get_runtime_nccl_version", &nccl_version);
}

/// What torch 2.14 has beside ProcessGroupNCCL, with its options.
template <class Group>
py::class_<Group, c10::intrusive_ptr<Group>> add_newer_group(py::module_& c10d, const py::module_& torchs,
                                                             const char* name) {
  const auto make = [](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                       const c10::intrusive_ptr<Options>& options, std::optional<c10::Device> device) {
    auto group = c10::make_intrusive<Group>(store, rank, size, options ? options : c10::make_intrusive<Options>(),
                                            &connect_gloo);
    if (device.has_value()) {
      group->setBoundDeviceId(device);
    }
    return group;
  };
  py::class_<Group, c10::intrusive_ptr<Group>> group(c10d, name, torchs.attr("Backend"));
  group
      .def(py::init(make), py::arg("store"), py::arg("rank"), py::arg("size"), py::arg("options") = py::none(),
           py::arg("device_id") = py::none(), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("options", [](const Group& self) { return self.options(); })
      .def("perform_nocolor_split", [](Group& self, c10::Device) { self.count_split(); });
  return group;
}

void add_newer_groups(py::module_& c10d, const py::module_& torchs) {
  auto group = add_newer_group<ProcessGroupNCCL2>(c10d, torchs, "ProcessGroupNCCL2");
  group.attr("Options") = c10d.attr("ProcessGroupNCCL").attr("Options");
  group
      .def(
          "register_mem_pool", [](const ProcessGroupNCCL2&, const py::object&, bool) {}, py::arg("pool"),
          py::arg("symm") = false, "Nothing: all memory of the device can be sent.")
      .def("deregister_mem_pool", [](const ProcessGroupNCCL2&, const py::object&) {}, py::arg("pool"));
  add_newer_group<ProcessGroupNCCLLazy>(c10d, torchs, "ProcessGroupNCCLLazy")
      .def("_num_active_channels", &ProcessGroupNCCLLazy::active_channels);
}

}  // namespace

void add_distributed(PyObject* torch_c) {
  const auto torchs = py::module_::import("torch._C");
  if (!py::hasattr(torchs, "_distributed_c10d")) {
    return;  // a build of torch without torch.distributed
  }
  auto c10d = add_submodule(py::reinterpret_borrow<py::module_>(torch_c), "_distributed_c10d");
  const auto torchs_c10d = torchs.attr("_distributed_c10d").cast<py::module_>();
  add_group(c10d, torchs_c10d);
  add_newer_groups(c10d, torchs_c10d);
  c10d.attr("_DEFAULT_PG_NCCL_TIMEOUT") = py::cast(ProcessGroupNCCL::kDefaultTimeout);
  c10d.def("_hash_tensors", &hash_tensors, py::arg("tensors"));
}

}  // namespace torchdevice
