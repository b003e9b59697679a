// forward/NativeKernel.h: an operator's native kernel, called as the dispatcher would.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <atomic>

#include "forward/Masquerade.h"

namespace torchdevice::forward {

/// Where the dispatcher keeps an operator's kernel for one key.
struct KernelPlace {
  const c10::KernelFunction& kernel;
  c10::OperatorHandle op;
};

/// The place for dense tensors of `native`'s device. Places stay where they are, and a kernel that replaces another is
/// written to the same one. Throws what a redispatch would if there is no kernel.
const KernelPlace* find_kernel_place(const char* name, const char* overload, const Masquerade& native);

template <class Op, class Signature = Op::schema>
class NativeKernel;

/// Redispatch, with the look-up done once an operator: it costs more instructions than the call itself.
template <class Op, class R, class... A>
class NativeKernel<Op, R(A...)> {
 public:
  C10_ALWAYS_INLINE static R call(const Masquerade& native, A... arguments) {
    // A kernel may take symbolic numbers or plain ones; torch's own redispatch knows which.
    if constexpr (!std::disjunction_v<c10::has_symint<A>...>) {
      const KernelPlace* place = places[native.ordinal].load(std::memory_order_acquire);
      if (C10_UNLIKELY(place == nullptr)) {
        place = find(native);
      }
      if (C10_LIKELY(place->kernel.isValidUnboxed())) {
        return place->kernel.template call<R, A...>(place->op, native.native_dense, std::forward<A>(arguments)...);
      }
    }
    return Op::redispatch(native.native_dense, std::forward<A>(arguments)...);
  }

 private:
  [[gnu::cold, gnu::noinline]] static const KernelPlace* find(const Masquerade& native) {
    const KernelPlace* place = find_kernel_place(Op::name, Op::overload_name, native);
    places[native.ordinal].store(place, std::memory_order_release);
    return place;
  }

  static inline constinit std::array<std::atomic<const KernelPlace*>, kMasquerades> places{};
};

}  // namespace torchdevice::forward
