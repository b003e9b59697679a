// forward/Registrar.h: puts kernels into the dispatcher under CUDA's keys.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include "forward/Forward.h"
#include "forward/SharedBoxing.h"
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
    using Signature = Op::schema;
    if (C10_UNLIKELY(has_choice())) {
      add(Op::name, Op::overload_name, with_fallback<Signature>(Op::name, Op::overload_name, &Kernel::call));
    } else {
      add(Op::name, Op::overload_name, directly<TypedFunctor<Kernel, Signature>>());
    }
  }

  /// A hand-written kernel, or one of at::native's that works on CUDA tensors as they are.
  template <class Op, class Function>
  void implement(Function function) {
    add(Op::name, Op::overload_name, c10::KernelFunction::makeFromUnboxedFunction(function));
  }

  /// Any kernel for any operator under any key. A second one for both is an error, whichever function registers it.
  void add(const c10::OperatorName& name, c10::DispatchKey key, c10::KernelFunction kernel);

 private:
  void add(const char* name, const char* overload, c10::KernelFunction kernel);

  // Not inline: there are thousands of calls.
  template <class Functor>
  [[gnu::noinline]] static c10::KernelFunction directly() {
    return c10::KernelFunction::makeFromUnboxedFunctor</*AllowLegacyTypes=*/false, Functor>(
        std::make_unique<Functor>());
  }
  template <class Signature>
  [[gnu::noinline]] static c10::KernelFunction with_fallback(const char* name, const char* overload,
                                                             WithFallback<Signature>::Kernel kernel) {
    using Functor = WithFallback<Signature>;
    return c10::KernelFunction::makeFromUnboxedFunctor</*AllowLegacyTypes=*/false, Functor>(
        std::make_unique<Functor>(name, overload, kernel));
  }
};

/// Every typed kernel that the build generated from native_functions.yaml.
void register_generated_kernels(Registrar& registrar);
/// The kernels written by hand, in csrc/aten.
void register_handwritten_kernels(Registrar& registrar);
/// The boxed fallback for operators that other libraries register.
void register_boxed_fallback();

}  // namespace torchdevice::forward
