// python/Module.cpp: the extension module torchdevice._C: activation, and what the Python side asks of the runtime.

#include <c10/core/Allocator.h>
#include <torch/csrc/utils/pybind.h>

#include "allocator/AllocatorSettings.h"
#include "allocator/CachingAllocator.h"
#include "allocator/CpuAllocator.h"
#include "distributed/Collectives.h"
#include "forward/Masquerade.h"
#include "forward/Registrar.h"
#include "forward/fallback/FallbackPolicy.h"
#include "forward/fallback/Forced.h"
#include "forward/fallback/Tally.h"
#include "graph/Graph.h"
#include "hooks/Guard.h"
#include "hooks/Hooks.h"
#include "hooks/Profiler.h"
#include "hooks/ScriptOperators.h"
#include "native/Backend.h"
#include "python/Bindings.h"
#include "runtime/AutogradEngine.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice {
namespace {

/// Above every allocator that torch registers for CUDA.
constexpr uint8_t kAllocatorPriority = 255;

void install_runtime() {
  install_allocator_settings();
  c10::SetAllocator(c10::DeviceType::CUDA, &caching_allocator(), kAllocatorPriority);
  install_cpu_allocator();
  install_guard();
  install_hooks();
  prepare_backends();
  graph::install_accelerator_graph();
  install_profiler();
}

void install_kernels() {
  forward::begin_masquerade();
  forward::Registrar registrar;
  forward::register_generated_kernels(registrar);
  forward::register_handwritten_kernels(registrar);
  distributed::register_collectives(registrar);
  forward::register_boxed_fallback();
  register_script_operators();
}

void add_names(PyObject* torch_c) {
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
}

/// Once, with the GIL, from torchdevice/activation.py. What can fail comes first, and changes nothing.
void activate() {
  check_device_settings();
  forward::read_fallback_policy();
  forward::read_report_switch();
  forward::read_forced_operators();
  device_total_memory();
  install_runtime();
  install_kernels();
  add_names(py::module_::import("torch._C").ptr());
}

}  // namespace
}  // namespace torchdevice

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  using namespace torchdevice;
  m.def("activate", &activate);
  m.def("backward_has_run", &backward_has_run);
  m.def("settle_backward", &settle_backward, py::call_guard<py::gil_scoped_release>());
  m.def("native_backend_name", [] { return native_backend().name(); });
  m.def("native_backend_title", [] { return native_backend().title(); });
  m.def("has_fallback", &forward::has_fallback);
  add_report(m.ptr());
  add_attention_patch(m.ptr());
  add_device_patch(m.ptr());
  add_gloo_patch(m.ptr());
  add_inductor_patch(m.ptr());
  add_storage_patch(m.ptr());
  add_sharing_patch(m.ptr());
  add_tensor_type_patch(m.ptr());
}
