// hooks/ScriptOperators.cpp: what torch.cuda's functions on devices become in TorchScript.

#include "hooks/ScriptOperators.h"

#include <torch/csrc/jit/runtime/operator.h>
#include <torch/library.h>

#include "hooks/Hooks.h"
#include "hooks/ScriptStreams.h"
#include "runtime/Device.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

// TorchScript must neither drop nor reorder these: they change the current device, or depend on it.
constexpr auto kHasEffects = c10::AliasAnalysisKind::CONSERVATIVE;

/// Those that have another implementation below.
void remove_operators_of_cuda_build() {
  for (const char* name : {"cuda::_current_device", "cuda::_exchange_device", "cuda::_maybe_exchange_device",
                           "cuda::_set_device", "cuda::device_index", "cuda::device_count", "cuda::synchronize"}) {
    const auto overloads = torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(name));  // a copy: it shrinks
    for (const auto& op : overloads) {
      torch::jit::deregisterOperator(op->schema());
    }
  }
}

int64_t exchange(int64_t index) { return index < 0 ? -1 : exchange_device(device_index_of(index)); }

}  // namespace

void register_script_operators() {
  if (torch_is_cuda_build()) {
    remove_operators_of_cuda_build();
  }
  static auto* library = new torch::Library(torch::Library::FRAGMENT, "cuda", std::nullopt, __FILE__, __LINE__);
  library->def(torch::schema("_current_device() -> int", kHasEffects), [] { return int64_t{current_device()}; });
  library->def(torch::schema("_exchange_device(int index) -> int", kHasEffects), &exchange);
  library->def(torch::schema("_maybe_exchange_device(int index) -> int", kHasEffects), &exchange);
  library->def(torch::schema("_set_device(int val) -> ()", kHasEffects),
               [](int64_t index) { set_current_device(device_index_of(index)); });
  library->def(torch::schema("device_index(Device device) -> int", kHasEffects),
               [](c10::Device device) { return int64_t{device.index()}; });
  library->def(torch::schema("device_count() -> int", kHasEffects), [] { return int64_t{device_count()}; });
  library->def(torch::schema("synchronize() -> ()", kHasEffects), [] { synchronize_device(current_device()); });
  library->def(torch::schema("synchronize.device(Device? device) -> ()", kHasEffects),
               [](std::optional<c10::Device> device) { synchronize_device(script_device(device)); });
  library->def(torch::schema("synchronize.int(int? val) -> ()", kHasEffects),
               [](std::optional<int64_t> index) { synchronize_device(script_device(index)); });
  // A class of TorchScript cannot be replaced: a CUDA build's own streams need an NVIDIA GPU.
  if (!torch_is_cuda_build()) {
    register_script_streams(*library);
  }
}

}  // namespace torchdevice
