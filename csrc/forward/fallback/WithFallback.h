// forward/fallback/WithFallback.h: a typed kernel that runs on the native backend or on the CPU.

#pragma once

#include <array>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "forward/Masquerade.h"
#include "forward/SharedBoxing.h"
#include "forward/fallback/Fallback.h"

namespace torchdevice::forward {

template <class T, bool is_written>
void see_argument(CallKind& call, const void* argument) {
  call.see(*static_cast<const T*>(argument), is_written);
}

template <class Signature>
class WithFallback;

/// A kernel, run where Note [Falling back to the CPU] says. Registered in its place where there is a choice; there the
/// call of a pointer does not matter.
template <class R, class... A>
class WithFallback<R(A...)> final : public SharesBoxing {
 public:
  WithFallback(const char* name, const char* overload, Redispatch<R, A...> redispatch, Unboxed<R, A...> unboxed,
               std::unique_ptr<c10::OperatorKernel> functor)
      : choosable_(choosable(name, overload)),
        redispatch_(redispatch),
        unboxed_(unboxed),
        functor_(std::move(functor)) {}

  R operator()(A... arguments) {
    if (C10_UNLIKELY(must_pass_capture_key())) {
      return redispatch_(kCapturedKeys, std::forward<A>(arguments)...);
    }
    const auto kernel = [this](A... same) -> R { return unboxed_(functor_.get(), {}, std::forward<A>(same)...); };
    return call(choosable_, kernel, std::forward<A>(arguments)...);
  }

  template <class Kernel>
  static R call(ChoosableKernel& choosable, const Kernel& kernel, A... arguments) {
    const std::array<const void*, sizeof...(A)> addresses{std::addressof(arguments)...};
    if constexpr (std::is_void_v<R>) {
      run_with_fallback(choosable, addresses.data(), [&] { kernel(arguments...); });
    } else if constexpr (std::is_reference_v<R>) {
      std::remove_reference_t<R>* result = nullptr;
      run_with_fallback(choosable, addresses.data(), [&] { result = &kernel(arguments...); });
      return *result;
    } else {
      std::optional<R> result;
      run_with_fallback(choosable, addresses.data(), [&] { result.emplace(kernel(arguments...)); });
      return std::move(*result);
    }
  }

  static constexpr ChoosableKernel choosable(const char* name, const char* overload) noexcept {
    return {name, overload, kSee.data(), sizeof...(A), {}};
  }

 private:
  /// As Forward reads the types: operators without a result write to their lists, resize_ and its kin to constant
  /// references.
  template <class T>
  static constexpr bool kIsWritten =
      std::is_same_v<T, at::Tensor&> || (std::is_same_v<T, const at::Tensor&> && std::is_same_v<R, T>) ||
      (std::is_same_v<T, at::TensorList> && std::is_void_v<R>);

  static constexpr std::array<ChoosableKernel::See, sizeof...(A)> kSee{
      &see_argument<std::remove_cvref_t<A>, kIsWritten<A>>...};

  ChoosableKernel choosable_;
  const Redispatch<R, A...> redispatch_;
  const Unboxed<R, A...> unboxed_;
  const std::unique_ptr<c10::OperatorKernel> functor_;
};

/// For kernels that call another one: `Kernel` where there is no choice, else WithFallback.
template <class Op, class Kernel, class Signature = Op::schema>
struct WithFallbackIfAny;

template <class Op, class Kernel, class R, class... A>
struct WithFallbackIfAny<Op, Kernel, R(A...)> {
  static R call(A... arguments) {
    return C10_UNLIKELY(has_choice())
               ? WithFallback<R(A...)>::call(choosable, &Kernel::call, std::forward<A>(arguments)...)
               : Kernel::call(std::forward<A>(arguments)...);
  }

 private:
  static inline constinit ChoosableKernel choosable = WithFallback<R(A...)>::choosable(Op::name, Op::overload_name);
};

}  // namespace torchdevice::forward
