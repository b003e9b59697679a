// forward/Sweep.cpp: other libraries' kernels for NVIDIA's GPUs give way.

#include "forward/Sweep.h"

#include <string>
#include <utility>

#include "forward/Boxed.h"
#include "forward/NativeKernel.h"
#include "native/Backend.h"
#include "runtime/SilentWarnings.h"

namespace torchdevice::forward {
namespace {

/// What the dispatcher notes of the kernel that serves `key`: "registered at .../RegisterCUDA_0.cpp:123 :: (...)".
std::string origin(const c10::OperatorHandle& op, c10::DispatchKey key) {
  const std::string state = op.dumpState();
  const std::string label = std::string("\n") + c10::toString(key) + ": ";
  const auto start = state.find(label);
  if (start == std::string::npos) {
    return "";
  }
  const auto end = state.find('\n', start + 1);
  return state.substr(start + label.size(), end - start - label.size());
}

/// Kernels in Python are made of operators, except for torch's own in Triton and CuTe.
bool is_made_of_operators(const std::string& origin) {
  return origin.find(".py:") != std::string::npos && origin.find("/torch/_native/") == std::string::npos;
}

/// A key whose table has nothing but what torch composes for every backend.
constexpr c10::DispatchKey nobodys(c10::DispatchKey functionality) {
  return c10::toRuntimePerBackendFunctionalityKey(functionality, c10::BackendComponent::VEBit);
}

template <c10::DispatchKey functionality>
void replace(Registrar& registrar) {
  const auto key = c10::toRuntimePerBackendFunctionalityKey(functionality, c10::BackendComponent::CUDABit);
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const c10::OperatorName& name : dispatcher.getRegistrationsForDispatchKey(key)) {
    const auto op = dispatcher.findSchema(name);
    if (Registrar::has(name, key) || !op.has_value() || is_made_of_operators(origin(*op, key))) {
      continue;
    }
    if (!op->hasComputedKernelForDispatchKey(nobodys(functionality))) {
      registrar.add(name, key, boxed_kernel<functionality>());
      continue;
    }
    const c10::KernelFunction composite = kernel_for(*op, c10::DispatchKeySet(nobodys(functionality)));
    registrar.add(name, key, composite);
    // Autograd sees through a composite operator only where its backend has no kernel. Now it has one again.
    const auto autograd = c10::getAutogradKeyFromBackend(c10::BackendComponent::CUDABit);
    if (op->hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) && !Registrar::has(name, autograd)) {
      registrar.add(name, autograd, composite);
    }
  }
}

bool has_native_kernel(const c10::OperatorHandle& op) {
  const auto native = c10::toRuntimePerBackendFunctionalityKey(c10::DispatchKey::Dense, native_backend().component());
  return op.hasKernelForDispatchKey(native) || op.hasKernelForDispatchKey(c10::DispatchKey::CPU);
}

}  // namespace

void sweep(Registrar& registrar) {
  replace<c10::DispatchKey::Dense>(registrar);
  replace<c10::DispatchKey::Sparse>(registrar);
  replace<c10::DispatchKey::SparseCsr>(registrar);
  replace<c10::DispatchKey::NestedTensor>(registrar);
  replace<c10::DispatchKey::Quantized>(registrar);
}

bool take_over(Registrar& registrar, const c10::OperatorName& name) {
  const auto op = c10::Dispatcher::singleton().findSchema(name);
  constexpr auto kComposite = nobodys(c10::DispatchKey::Dense);
  if (!op.has_value() || Registrar::has(name, c10::DispatchKey::CUDA)) {
    return false;
  }
  const SilentWarnings silent;  // the dispatcher says that a kernel takes the place of another
  if (has_native_kernel(*op)) {
    registrar.add(name, c10::DispatchKey::CUDA, boxed_kernel<c10::DispatchKey::Dense>());
  } else if (op->hasComputedKernelForDispatchKey(kComposite)) {
    registrar.add(name, c10::DispatchKey::CUDA, kernel_for(*op, c10::DispatchKeySet(kComposite)));
  } else {
    return false;
  }
  return true;
}

}  // namespace torchdevice::forward
