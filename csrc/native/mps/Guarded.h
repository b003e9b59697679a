// native/mps/Guarded.h: a kernel that tells ordinary calls from doubtful ones by a look at their tensors.

#pragma once

#include <ATen/core/IListRef.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace torchdevice {

template <class Op, bool (*is_doubtful)(const at::Tensor&), class Signature = Op::schema>
class Guarded;

/// Rules see boxed arguments, which costs more than many an operator's whole way.
template <class Op, bool (*is_doubtful)(const at::Tensor&), class R, class... A>
class Guarded<Op, is_doubtful, R(A...)> final : public c10::OperatorKernel {
 public:
  Guarded(const c10::KernelFunction& ordinary, const c10::KernelFunction& doubtful)
      : op_(c10::Dispatcher::singleton().findSchemaOrThrow(Op::name, Op::overload_name)),
        ordinary_(ordinary),
        doubtful_(doubtful) {}

  R operator()(A... arguments) {
    const c10::KernelFunction& chosen = C10_UNLIKELY((is_seen(arguments) || ...)) ? doubtful_ : ordinary_;
    return chosen.template call<R, A...>(op_, c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                         std::forward<A>(arguments)...);
  }

  static c10::KernelFunction make(const c10::KernelFunction& ordinary, const c10::KernelFunction& doubtful) {
    return c10::KernelFunction::makeFromUnboxedFunctor</*AllowLegacyTypes=*/false, Guarded>(
        std::make_unique<Guarded>(ordinary, doubtful));
  }

 private:
  static bool is_seen(const at::Tensor& tensor) { return tensor.defined() && is_doubtful(tensor); }
  static bool is_seen(const at::ITensorListRef& tensors) {
    return std::any_of(tensors.begin(), tensors.end(), is_doubtful);
  }
  template <class T>
  static bool is_seen(const T& /*argument*/) {
    return false;
  }

  const c10::OperatorHandle op_;
  const c10::KernelFunction ordinary_;
  const c10::KernelFunction doubtful_;
};

}  // namespace torchdevice
