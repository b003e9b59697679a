// forward/Registrar.h: puts kernels into the dispatcher under CUDA's keys.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include "forward/DeviceRule.h"
#include "forward/SharedBoxing.h"
#include "forward/fallback/WithFallback.h"

namespace torchdevice::forward {

/// The typed kernel. Only who registers one includes Forward.h: whatever it includes is the costliest part of a build.
template <class Signature, Mixing mixing, bool writes_elements_only, bool refuses_types>
class Forward;

/// Registers kernels for the life of the process. Schemas are not inferred from the C++ types: the types come from
/// torch's own operator structs, and inference would cost more than everything else at start-up.
class Registrar {
 public:
  /// The typed kernel; needs Forward.h.
  template <class Op, const Rule& rule>
  void forward() {
    using Kernel =
        Forward<typename Op::schema, rule.mixing, rule.writes_elements_only, /*refuses_types=*/rule.refused != nullptr>;
    add_functor<Kernel, typename Op::schema>(Op::name, Op::overload_name, &Op::redispatch, rule, &Op::redispatch);
  }

  /// A kernel that forwards, also to the CPU where the native backend cannot.
  template <class Op, class Kernel>
  void forward_by() {
    add_functor<Calls<Kernel, typename Op::schema>, typename Op::schema>(Op::name, Op::overload_name, &Op::redispatch);
  }

  /// A hand-written kernel, or one of at::native's that works on CUDA tensors as they are: TORCH_FN(function).
  template <class Op, class Function>
  void implement(Function /*function*/) {
    using Signature = Function::FuncType;
    add(Op::name, Op::overload_name,
        unboxed(std::make_unique<Functor<Invokes<Function, Signature>, Signature>>(&Plain<Op, Signature>::redispatch)));
  }

  /// Any kernel for any operator under any key. A second one for both is an error, whichever function registers it.
  void add(const c10::OperatorName& name, c10::DispatchKey key, c10::KernelFunction kernel);
  static bool has(const c10::OperatorName& name, c10::DispatchKey key);

  /// Takes every kernel back; what was registered before them serves again.
  static void take_back();

 private:
  void add(const char* name, const char* overload, c10::KernelFunction kernel);

  /// `Kernel`'s static function as an object.
  template <class Kernel, class Signature>
  struct Calls;
  template <class Kernel, class R, class... A>
  struct Calls<Kernel, R(A...)> {
    Calls(const char* /*name*/, const char* /*overload*/) {}
    R operator()(A... arguments) { return Kernel::call(std::forward<A>(arguments)...); }
  };

  /// A function, known to the compiler, as an object.
  template <class Function, class Signature>
  struct Invokes;
  template <class Function, class R, class... A>
  struct Invokes<Function, R(A...)> {
    R operator()(A... arguments) { return (*Function::func_ptr())(std::forward<A>(arguments)...); }
  };

  /// An operator's redispatch for a kernel that takes plain sizes where the operator has symbolic ones.
  template <class Op, class Signature, class Schema = Op::schema>
  struct Plain;
  template <class Op, class R, class... A, class Same, class... S>
  struct Plain<Op, R(A...), Same(S...)> {
    static R redispatch(c10::DispatchKeySet keys, A... arguments) {
      return Op::redispatch(keys, as<S>(std::forward<A>(arguments))...);
    }

   private:
    template <class Symbolic, class T>
    static decltype(auto) as(T&& argument) {
      if constexpr (std::is_same_v<Symbolic, c10::SymIntArrayRef> && !std::is_same_v<T, Symbolic>) {
        return c10::fromIntArrayRefSlow(argument);
      } else {
        return std::forward<T>(argument);
      }
    }
  };

  // Not inline: there are thousands of calls.
  template <class Kernel, class Signature, class Pointer, class... Init>
  [[gnu::noinline]] void add_functor(const char* name, const char* overload, Pointer redispatch, Init&&... init) {
    using Direct = Functor<Kernel, Signature>;
    auto functor = std::make_unique<Direct>(redispatch, name, overload, std::forward<Init>(init)...);
    add(name, overload,
        has_choice() ? with_fallback<Signature>(name, overload, redispatch, std::move(functor))
                     : unboxed(std::move(functor)));
  }
  template <class Functor>
  static c10::KernelFunction unboxed(std::unique_ptr<Functor> functor) {
    return c10::KernelFunction::makeFromUnboxedFunctor</*AllowLegacyTypes=*/false, Functor>(std::move(functor));
  }
  template <class Signature, class Pointer, class Functor>
  static c10::KernelFunction with_fallback(const char* name, const char* overload, Pointer redispatch,
                                           std::unique_ptr<Functor> functor) {
    return unboxed(std::make_unique<WithFallback<Signature>>(
        name, overload, redispatch, &c10::impl::wrap_kernel_functor_unboxed<Functor>::call, std::move(functor)));
  }
};

/// Every typed kernel that the build generated from native_functions.yaml.
void register_generated_kernels(Registrar& registrar);
/// The kernels written by hand, in csrc/aten.
void register_handwritten_kernels(Registrar& registrar);
}  // namespace torchdevice::forward
