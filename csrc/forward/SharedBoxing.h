// forward/SharedBoxing.h: one boxed call for all kernels of a signature, where torch would make one for each.

#pragma once

#include <ATen/core/boxing/KernelFunction.h>

#include <concepts>
#include <utility>

#include "forward/NativeKernel.h"
#include "runtime/CaptureKey.h"

namespace torchdevice::forward {

/// A functor that derives from this is called boxed by way of its unboxed call. There are thousands: their own boxed
/// calls would take a good part of the time that the generated kernels take to compile.
struct SharesBoxing : c10::OperatorKernel {};

/// A kernel as torch calls it unboxed: the functor, the dispatch keys that it ignores, the arguments.
template <class R, class... A>
using Unboxed = R (*)(c10::OperatorKernel*, c10::DispatchKeySet, A...);

template <class R, class... A>
struct ByUnboxed final : c10::OperatorKernel {
  ByUnboxed(Unboxed<R, A...> unboxed, c10::OperatorKernel* functor) : unboxed_(unboxed), functor_(functor) {}
  R operator()(A... arguments) { return unboxed_(functor_, {}, std::forward<A>(arguments)...); }

 private:
  const Unboxed<R, A...> unboxed_;
  c10::OperatorKernel* const functor_;
};

template <class R, class... A>
[[gnu::noinline]] void call_boxed(Unboxed<R, A...> unboxed, c10::OperatorKernel* functor, const c10::OperatorHandle& op,
                                  c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  ByUnboxed<R, A...> shared(unboxed, functor);
  c10::impl::make_boxed_from_unboxed_functor<ByUnboxed<R, A...>, false>::call(&shared, op, keys, stack);
}

/// With these keys a kernel dispatches its operator again, to be captured. See Note [Captures that begin elsewhere].
inline constexpr c10::DispatchKeySet kCapturedKeys{kCaptureKey, c10::DispatchKey::CUDA};

/// What the dispatcher calls for an object with a call operator.
template <class Kernel, class Signature>
class Functor;

template <class Kernel, class R, class... A>
class Functor<Kernel, R(A...)> final : public SharesBoxing {
 public:
  template <class... Init>
  explicit Functor(Redispatch<R, A...> redispatch, Init&&... init)
      : kernel_{std::forward<Init>(init)...}, redispatch_(redispatch) {}
  R operator()(A... arguments) {
    if (C10_UNLIKELY(must_pass_capture_key())) {
      return redispatch_(kCapturedKeys, std::forward<A>(arguments)...);
    }
    return kernel_(std::forward<A>(arguments)...);
  }

 private:
  Kernel kernel_;
  const Redispatch<R, A...> redispatch_;
};

}  // namespace torchdevice::forward

template <class Functor, bool allow_legacy_types>
  requires std::derived_from<Functor, torchdevice::forward::SharesBoxing>
struct c10::impl::make_boxed_from_unboxed_functor<Functor, allow_legacy_types> final {
  static void call(c10::OperatorKernel* functor, const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                   torch::jit::Stack* stack) {
    torchdevice::forward::call_boxed(&wrap_kernel_functor_unboxed<Functor>::call, functor, op, keys, stack);
  }
};
