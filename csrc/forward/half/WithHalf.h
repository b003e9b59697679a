// forward/half/WithHalf.h: a typed kernel that computes halves in float32.

#pragma once

#include <ATen/core/IListRef.h>

#include <memory>
#include <optional>
#include <utility>

#include "forward/SharedBoxing.h"
#include "forward/half/InFloat32.h"

namespace torchdevice::forward {

inline bool has_dtype(DtypeSet dtypes, const at::Tensor& tensor) {
  return (dtypes >> static_cast<unsigned>(tensor.scalar_type()) & 1U) != 0;
}
inline bool has_dtype(DtypeSet dtypes, const std::optional<at::Tensor>& tensor) {
  return tensor.has_value() && has_dtype(dtypes, *tensor);
}
inline bool has_dtype(DtypeSet dtypes, const at::TensorList& tensors) {
  return !tensors.empty() && has_dtype(dtypes, tensors.front());
}
template <class T>
bool has_dtype(DtypeSet /*dtypes*/, const T& /*argument*/) {
  return false;
}

template <class Signature>
class WithHalf;

/// A kernel, and the same in float32 for halves that the rule names.
template <class R, class... A>
class WithHalf<R(A...)> final : public SharesBoxing {
 public:
  WithHalf(const c10::OperatorHandle& op, const HalfRule& rule, const c10::KernelFunction& kernel)
      : op_(op), dtypes_(rule.in_float32), kernel_(kernel), in_float32_(in_float32(rule, kernel)) {}

  R operator()(A... arguments) {
    const bool halves = (has_dtype(dtypes_, arguments) || ...);
    const c10::KernelFunction& chosen = C10_UNLIKELY(halves) ? in_float32_ : kernel_;
    return chosen.template call<R, A...>(op_, c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                         std::forward<A>(arguments)...);
  }

 private:
  const c10::OperatorHandle op_;
  const DtypeSet dtypes_;
  const c10::KernelFunction kernel_;
  const c10::KernelFunction in_float32_;
};

/// Makes the kernel of `Op` one that computes halves in float32.
template <class Op>
c10::KernelFunction with_half(const c10::OperatorHandle& op, const HalfRule& rule, const c10::KernelFunction& kernel) {
  using Kernel = WithHalf<typename Op::schema>;
  return c10::KernelFunction::makeFromUnboxedFunctor</*AllowLegacyTypes=*/false, Kernel>(
      std::make_unique<Kernel>(op, rule, kernel));
}

}  // namespace torchdevice::forward
