// python/Module.cpp: the extension module torchdevice._C: activation, and what the Python side asks of the runtime.

#include <c10/core/Allocator.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <functional>
#include <utility>
#include <vector>

#include "allocator/AllocatorSettings.h"
#include "allocator/CachingAllocator.h"
#include "allocator/CpuAllocator.h"
#include "check/Checker.h"
#include "distributed/Collectives.h"
#include "distributed/ReducerTimer.h"
#include "distributed/TensorPipe.h"
#include "dry/Kernels.h"
#include "forward/Boxed.h"
#include "forward/Masquerade.h"
#include "forward/Registrar.h"
#include "forward/Sweep.h"
#include "forward/checks/Strictness.h"
#include "forward/fallback/Composed.h"
#include "forward/fallback/FallbackPolicy.h"
#include "forward/fallback/Forced.h"
#include "forward/fallback/Tally.h"
#include "forward/half/HalfRule.h"
#include "graph/Graph.h"
#include "hooks/Guard.h"
#include "hooks/Hooks.h"
#include "hooks/Profiler.h"
#include "hooks/ScriptOperators.h"
#include "native/Backend.h"
#include "python/Bindings.h"
#include "python/Names.h"
#include "runtime/AutogradEngine.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"
#include "runtime/Fork.h"
#include "runtime/LostContext.h"
#include "runtime/SilentWarnings.h"

namespace torchdevice {
namespace {

/// What takes the changes back that activate() has made in torch.
std::vector<std::function<void()>>& undos() {
  static auto* undos = new std::vector<std::function<void()>>();
  return *undos;
}

void deactivate() {
  while (!undos().empty()) {
    undos().back()();
    undos().pop_back();
  }
}

std::function<void()> install_caching_allocator() {
  // Above every allocator that torch registers for CUDA.
  constexpr uint8_t kPriority = 255;
  c10::Allocator* before = c10::GetAllocator(c10::DeviceType::CUDA);
  c10::SetAllocator(c10::DeviceType::CUDA, &caching_allocator(), kPriority);
  return [before] { c10::SetAllocator(c10::DeviceType::CUDA, before, kPriority); };
}

void register_kernels() {
  const SilentWarnings silent;  // torch warns of every kernel that is replaced; here that is the purpose
  if (dry::is_on()) {
    dry::register_kernels();
    return;
  }
  forward::Registrar registrar;
  forward::register_composed_kernels(registrar);
  forward::register_generated_kernels(registrar);
  forward::register_handwritten_kernels(registrar);
  distributed::register_collectives(registrar);
  if (torch_is_cuda_build()) {
    forward::sweep(registrar);
  }
}

std::function<void()> install_kernels() {
  forward::begin_masquerade();
  try {
    register_kernels();
  } catch (...) {
    forward::Registrar::take_back();
    throw;
  }
  return [] {
    forward::Registrar::take_back();
    restore_context();
  };
}

/// The kernel of what other libraries bring.
std::function<void()> install_fallback() {
  return dry::is_on() ? dry::register_fallback() : forward::register_boxed_fallback();
}

/// With the GIL, from torchdevice/activation.py. All or nothing, and deactivate() takes it back: what can be wrong in
/// the settings comes first.
void activate() {
  check_device_settings();
  forward::read_fallback_policy();
  forward::read_report_switch();
  forward::read_forced_operators();
  forward::read_half_rule();
  forward::read_strictness();
  device_total_memory();
  try {
    for (const auto install :
         {&check::install_checker, &install_allocator_settings, &install_caching_allocator, &install_cpu_allocator,
          &install_guard, &install_hooks, &prepare_backends, &install_profiler, &install_kernels, &install_fallback}) {
      undos().push_back(install());
    }
  } catch (...) {
    deactivate();
    throw;
  }
}

/// What torch has no way to take back, once all else has succeeded. Nothing of it asks for a GPU before it is used.
void activate_for_good() {
  graph::install_accelerator_graph();
  install_reducer_timer();
  register_tensorpipe();
  register_script_operators();
  install_fork_handlers();
}

}  // namespace
}  // namespace torchdevice

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  using namespace torchdevice;
  m.def("activate", &activate);
  m.def("activate_for_good", &activate_for_good);
  m.def("deactivate", &deactivate);
  m.def("names_of_a_cuda_build", &names_of_a_cuda_build);
  m.def("follow_release", [](int cuda, const std::array<int, 3>& cudnn, const std::array<int, 3>& nccl) {
    follow_release(cuda, cudnn[0] * 10000 + cudnn[1] * 100 + cudnn[2], nccl);
  });
  m.def("backward_has_run", &backward_has_run);
  m.def("settle_backward", &settle_backward, py::call_guard<py::gil_scoped_release>());
  m.def("torch_is_cuda_build", &torch_is_cuda_build);
  m.def("native_backend_name", [] { return native_backend().name(); });
  m.def("native_backend_title", [] { return native_backend().title(); });
  m.def("has_fallback", &forward::has_fallback);
  m.def("half_rule", &forward::describe_half_rule);
  add_library_patch(m.ptr());
  add_report(m.ptr());
  add_check(m.ptr());
  add_dry_run(m.ptr());
  add_attention_patch(m.ptr());
  add_device_patch(m.ptr());
  add_gloo_patch(m.ptr());
  add_inductor_patch(m.ptr());
  add_storage_patch(m.ptr());
  add_sharing_patch(m.ptr());
  add_tensor_type_patch(m.ptr());
}
