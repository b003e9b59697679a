// forward/Registrar.h: puts kernels into the dispatcher under CUDA's keys.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include "forward/Forward.h"
#include "forward/fallback/WithFallback.h"

namespace torchdevice::forward {

/// Registers kernels for the life of the process. Schemas are not inferred from the C++ types: the types come from
/// torch's own operator structs, and inference would cost more than everything else at start-up.
class Registrar {
 public:
  template <class Op, const Rule& rule>
  void forward() {
    forward_by<Op, Forward<Op, rule, typename Op::schema>>();
  }

  /// A kernel that forwards, also to the CPU where the native backend cannot.
  template <class Op, class Kernel>
  void forward_by() {
    if (C10_UNLIKELY(has_choice())) {
      add({Op::name, Op::overload_name}, c10::DispatchKey::CUDA, by_pointer(&WithFallback<Op, Kernel>::call));
    } else {
      implement<Op>(TORCH_FN(Kernel::call));
    }
  }

  /// A hand-written kernel, or one of at::native's that works on CUDA tensors as they are.
  template <class Op, class Function>
  void implement(Function function) {
    add({Op::name, Op::overload_name}, c10::DispatchKey::CUDA, c10::KernelFunction::makeFromUnboxedFunction(function));
  }

  /// Any kernel for any operator under any key.
  void add(const c10::OperatorName& name, c10::DispatchKey key, c10::KernelFunction kernel);

 private:
  /// One boxing wrapper a signature, not one an operator: this is not the library's hot path.
  template <class Function>
  [[gnu::noinline]] static c10::KernelFunction by_pointer(Function* function) {
    return c10::KernelFunction::makeFromUnboxedRuntimeFunction(function);
  }
};

/// Every typed kernel that the build generated from native_functions.yaml.
void register_generated_kernels(Registrar& registrar);
/// The kernels written by hand, in csrc/aten.
void register_handwritten_kernels(Registrar& registrar);
/// The boxed fallback for operators that other libraries register.
void register_boxed_fallback();

}  // namespace torchdevice::forward
