// forward/Forward.h: the typed kernel: one template instance per signature, one object per ATen operator.

#pragma once

#include <ATen/TracerMode.h>

#include "forward/Argument.h"
#include "forward/DeviceRule.h"
#include "forward/ErrorText.h"
#include "forward/NativeKernel.h"
#include "forward/Registrar.h"
#include "forward/Result.h"
#include "forward/checks/RefusedTypes.h"

namespace torchdevice::forward {

template <class T>
inline constexpr bool kIsReferenceTuple = false;
template <class... T>
inline constexpr bool kIsReferenceTuple<std::tuple<T&...>> = sizeof...(T) > 0;

/// Note [Typed kernel]
/// Registered for the CUDA dispatch key. Aliases the arguments, redispatches to the native backend, then adopts the
/// results, or, for in-place and out= operators, returns the caller's own tensors with their metadata brought up to
/// date. Frame's destructor restores everything, also when the native kernel throws.
/// Operators of one signature share its code: one for each of the 1,400 would take twice as long to compile.
template <class R, class... A, Mixing mixing, bool writes_elements_only, bool refuses_types>
class Forward<R(A...), mixing, writes_elements_only, refuses_types> {
 public:
  constexpr Forward(const char* name, const char* overload, const Rule& rule, Redispatch<R, A...> redispatch) noexcept
      : rule_(rule), native_kernel_(name, overload, redispatch) {}

  R operator()(A... arguments) { return run<refuses_types>(std::index_sequence_for<A...>(), arguments...); }

 private:
  // resize_ and its kin take the tensor they change by const reference; their result type tells.
  static constexpr Access kFirstAccess = std::is_same_v<R, const at::Tensor&> ? Access::kWrite : Access::kRead;
  // Operators without a result write to lists of tensors: foreach and fused ones.
  static constexpr Access kListAccess = std::is_void_v<R> ? Access::kWrite : Access::kRead;
  template <size_t position, class T>
  using ArgumentAt = Argument<T, position == 0 && !std::is_void_v<R> ? kFirstAccess
                                 : std::is_same_v<T, at::TensorList> ? kListAccess
                                                                     : Access::kRead>;

  template <bool may_refuse, size_t... i>
  R run(std::index_sequence<i...>, A&... arguments) {
    Frame frame;
    std::tuple<ArgumentAt<i, A>...> natives{ArgumentAt<i, A>(frame, arguments)...};
    if constexpr (mixing == Mixing::kConvolution) {
      // torch.jit.trace skips this operator and records what it is composed of.
      if (C10_UNLIKELY(at::tracer::impl::is_dispatch_enabled())) {
        return native_kernel_.redispatch(kCompositeKeys, arguments...);
      }
    }
    if (C10_UNLIKELY(must_look_at_devices(frame))) {
      if constexpr (mixing == Mixing::kComposite || mixing == Mixing::kConvolution) {
        return native_kernel_.redispatch(kCompositeKeys, arguments...);
      } else {
        std::vector<SeenTensor> seen;
        (std::get<i>(natives).see(static_cast<int>(i), seen), ...);
        check_devices(rule_, seen);
      }
    }
    if constexpr (may_refuse) {
      if (C10_UNLIKELY(is_refused(*rule_.refused, arguments...))) {
        refuse(arguments...);
      }
    }
    frame.enter();
    try {
      return forward(frame, natives, std::index_sequence<i...>(), arguments...);
    } catch (const c10::Error& error) {
      throw_cuda_text(error, native_kernel_.name());
    }
  }

  template <class Natives, size_t... i>
  C10_ALWAYS_INLINE R forward(Frame& frame, Natives& natives, std::index_sequence<i...>, A&... arguments) {
    if constexpr (std::is_void_v<R>) {
      native_kernel_.call(frame.native(), std::get<i>(natives).native()...);
      (std::get<i>(natives).commit(frame), ...);
    } else if constexpr (std::is_reference_v<R>) {
      native_kernel_.call(frame.native(), std::get<i>(natives).native()...);
      if constexpr (!writes_elements_only) {
        (std::get<i>(natives).commit(frame), ...);
      }
      return written_argument<R>(arguments...);
    } else if constexpr (kIsReferenceTuple<R>) {
      native_kernel_.call(frame.native(), std::get<i>(natives).native()...);
      (std::get<i>(natives).commit(frame), ...);
      return written_arguments(arguments...);
    } else {
      R result = native_kernel_.call(frame.native(), std::get<i>(natives).native()...);
      adopt_result(frame, result);
      (std::get<i>(natives).commit(frame), ...);
      return result;
    }
  }

  /// What else is wrong with the call is said first, as on CUDA. Nothing of the caller's is written to.
  [[noreturn, gnu::cold, gnu::noinline]] void refuse(A&... arguments) {
    std::tuple<Unharmed<A>...> same(unharmed<A>(arguments)...);
    std::apply([this](auto&... one) { run</*may_refuse=*/false>(std::index_sequence_for<A...>(), one...); }, same);
    refuse_type(*rule_.refused, first_type(arguments...));
  }
  template <class T>
  using Unharmed = std::conditional_t<std::is_same_v<T, at::Tensor&>, at::Tensor, T&>;
  template <class T>
  static Unharmed<T> unharmed(T& argument) {
    if constexpr (std::is_same_v<T, at::Tensor&>) {
      return argument.clone();
    } else {
      return argument;
    }
  }

  static bool must_look_at_devices(const Frame& frame) {
    if constexpr (mixing == Mixing::kAnyDevice) {
      return false;
    } else if constexpr (mixing == Mixing::kTensorIterator) {
      return frame.has_foreign_tensor();
    } else {
      return frame.has_foreign_tensor() || frame.has_cpu_scalar();
    }
  }

  /// The one argument that has the result's type: self of an in-place operator, out of an out= one.
  template <class Reference, class First, class... Rest>
  static Reference written_argument(First& first, Rest&... rest) {
    if constexpr (std::is_same_v<Reference, First&> || std::is_same_v<Reference, const First&>) {
      return first;
    } else {
      return written_argument<Reference>(rest...);
    }
  }

  /// The last arguments that are written to: out= ones come after others, such as running statistics.
  static R written_arguments(A&... arguments) {
    return last_of(std::tuple_cat(as_written<A>(arguments)...), std::make_index_sequence<std::tuple_size_v<R>>());
  }
  template <class Written, size_t... i>
  static R last_of(const Written& written, std::index_sequence<i...>) {
    return R(std::get<std::tuple_size_v<Written> - sizeof...(i) + i>(written)...);
  }
  template <class T>
  static auto as_written(std::remove_reference_t<T>& argument) {
    if constexpr (std::is_same_v<T, at::Tensor&>) {
      return std::tuple<at::Tensor&>(argument);
    } else {
      return std::tuple<>();
    }
  }

  const Rule& rule_;
  NativeKernel<R(A...)> native_kernel_;
};

template <class Op, const Rule& rule, class Signature = Op::schema>
struct Forwarded;

/// The typed kernel of one operator as a function, for kernels that call it.
template <class Op, const Rule& rule, class R, class... A>
struct Forwarded<Op, rule, R(A...)> {
  static R call(A... arguments) { return kernel(std::forward<A>(arguments)...); }

 private:
  static inline constinit Forward<R(A...), rule.mixing, rule.writes_elements_only, rule.refused != nullptr> kernel{
      Op::name, Op::overload_name, rule, &Op::redispatch};
};

}  // namespace torchdevice::forward
