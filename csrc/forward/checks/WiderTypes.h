// forward/checks/WiderTypes.h: operators whose CUDA kernels know narrow types that the native ones do not, computed in
// wider ones.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <array>
#include <span>

namespace torchdevice::forward {

/// The operator once more, with float32 for halves, complex64 for complex32, uint8 for bool and float64 for other
/// integers; results and written arguments are narrow again.
void run_wider(const c10::OperatorHandle& op, torch::jit::Stack& stack, std::span<const at::ScalarType> narrow);

template <at::ScalarType... narrow>
struct NarrowTypes {
  static constexpr std::array kTypes{narrow...};

  static bool has(at::ScalarType type) { return ((type == narrow) || ...); }
  static bool among(const at::Tensor& tensor) { return tensor.defined() && has(tensor.scalar_type()); }
  template <class T>
  static bool among(const T&) {
    return false;
  }
  static void run(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
    run_wider(op, *stack, kTypes);
  }
};

template <class Op, class Kernel, class Narrow, class Signature = Op::schema>
struct WiderTypes;

/// `Kernel`, except for tensors of the types `Narrow`.
template <class Op, class Kernel, class Narrow, class R, class... A>
struct WiderTypes<Op, Kernel, Narrow, R(A...)> {
  static R call(A... arguments) {
    if (C10_UNLIKELY((Narrow::among(arguments) || ...))) {
      static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(Op::name, Op::overload_name);
      static const auto wider = c10::KernelFunction::makeFromBoxedFunction<&Narrow::run>();
      return wider.template call<R, A...>(op, c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                          std::forward<A>(arguments)...);
    }
    return Kernel::call(arguments...);
  }
};

}  // namespace torchdevice::forward
