// forward/NativeKernel.h: an operator's native kernel, called as the dispatcher would.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <atomic>

#include "forward/Masquerade.h"

namespace torchdevice::forward {

/// Where an operator's composite kernel is found: every backend's table has it, also that of one nobody implements.
inline constexpr c10::DispatchKeySet kCompositeKeys{c10::DispatchKey::VE};

/// Where the dispatcher keeps an operator's kernel for these keys. Places stay where they are, and a kernel that
/// replaces another is written to the same one. Throws what a redispatch would if there is no kernel.
const c10::KernelFunction& kernel_for(const c10::OperatorHandle& op, c10::DispatchKeySet keys);

struct KernelPlace {
  const c10::KernelFunction& kernel;
  c10::OperatorHandle op;
};

/// The place for dense tensors of `native`'s device.
const KernelPlace* find_kernel_place(const char* name, const char* overload, const Masquerade& native);

/// How at::_ops redispatches the operators of a signature.
template <class R, class... A>
using Redispatch = R (*)(c10::DispatchKeySet, A...);

template <class Signature>
class NativeKernel;

/// Redispatch, with the look-up done once an operator: it costs more instructions than the call itself.
template <class R, class... A>
class NativeKernel<R(A...)> {
 public:
  constexpr NativeKernel(const char* name, const char* overload, Redispatch<R, A...> redispatch) noexcept
      : name_(name), overload_(overload), redispatch_(redispatch) {}

  C10_ALWAYS_INLINE R call(const Masquerade& native, A... arguments) {
    // A kernel may take symbolic numbers or plain ones; torch's own redispatch knows which.
    if constexpr (!std::disjunction_v<c10::has_symint<A>...>) {
      const KernelPlace* place = places_[native.ordinal].load(std::memory_order_acquire);
      if (C10_UNLIKELY(place == nullptr)) {
        place = find(native);
      }
      if (C10_LIKELY(place->kernel.isValidUnboxed())) {
        return place->kernel.template call<R, A...>(place->op, native.native_dense, std::forward<A>(arguments)...);
      }
    }
    return redispatch(native.native_dense, std::forward<A>(arguments)...);
  }

  const char* name() const noexcept { return name_; }

  R redispatch(c10::DispatchKeySet keys, A... arguments) const {
    return redispatch_(keys, std::forward<A>(arguments)...);
  }

 private:
  [[gnu::cold, gnu::noinline]] const KernelPlace* find(const Masquerade& native) {
    const KernelPlace* place = find_kernel_place(name_, overload_, native);
    places_[native.ordinal].store(place, std::memory_order_release);
    return place;
  }

  const char* name_;
  const char* overload_;
  Redispatch<R, A...> redispatch_;
  std::array<std::atomic<const KernelPlace*>, kMasquerades> places_{};
};

}  // namespace torchdevice::forward
