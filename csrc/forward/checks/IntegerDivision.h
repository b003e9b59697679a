// forward/checks/IntegerDivision.h: on a GPU an integer divided by zero is some number; the CPU's kernels raise an
// error.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <optional>
#include <string_view>
#include <type_traits>

namespace torchdevice::forward {

/// `kernel` of the operator with ones for zero divisors, whose results are then those that NVIDIA's GPUs give.
void divide_by_zero(const c10::OperatorHandle& op, const c10::KernelFunction& kernel, torch::jit::Stack& stack);

bool is_division_by_zero(const c10::Error& error);

template <class Op, class Kernel, class Signature = Op::schema>
struct IntegerDivision;

/// `Kernel`, a division that rounds or its remainder, with the results of a GPU instead of the CPU's error.
template <class Op, class Kernel, class R, class... A>
struct IntegerDivision<Op, Kernel, R(A...)> {
  static R call(A... arguments) {
    if constexpr (kWrites) {
      // A kernel that raises an error has divided some of the numbers by then.
      if ((may_divide_by_zero(arguments) && ...)) {
        return with_zeros(arguments...);
      }
      return Kernel::call(arguments...);
    } else {
      try {
        return Kernel::call(arguments...);
      } catch (const c10::Error& error) {
        if (!is_division_by_zero(error)) {
          throw;
        }
      }
      return with_zeros(arguments...);
    }
  }

 private:
  static constexpr bool kWrites = (std::is_same_v<A, at::Tensor&> || ...);

  static bool may_divide_by_zero(const at::Tensor& tensor) {
    if (tensor.is_cuda()) {
      return at::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
    }
    return tensor.dim() == 0 && may_divide_by_zero(tensor.item());
  }
  static bool may_divide_by_zero(const at::Scalar& number) {
    return number.isIntegral(/*includeBool=*/true) && number.equal(0);
  }
  /// Without rounding it is a division of floating-point numbers.
  static bool may_divide_by_zero(std::optional<std::string_view> rounding) { return rounding.has_value(); }

  static void run(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
    static const auto kernel = c10::KernelFunction::makeFromUnboxedRuntimeFunction(&Kernel::call);
    divide_by_zero(op, kernel, *stack);
  }
  static R with_zeros(A... arguments) {
    static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(Op::name, Op::overload_name);
    static const auto boxed = c10::KernelFunction::makeFromBoxedFunction<&run>();
    return boxed.template call<R, A...>(op, c10::DispatchKeySet(c10::DispatchKey::CUDA), std::forward<A>(arguments)...);
  }
};

}  // namespace torchdevice::forward
