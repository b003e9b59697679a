// forward/NativeKernel.cpp: an operator's native kernel, called as the dispatcher would.

#include "forward/NativeKernel.h"

namespace torchdevice::forward {
namespace {

/// The handle's pointer to its entry is private, and no function of torch's gives a kernel's place instead of a copy,
/// which would miss kernels registered later. An explicit instantiation may name what is private; see
/// Note [Undefined on purpose].
template <auto definition>
struct Private {
  friend const c10::impl::OperatorEntry& entry_of(const c10::OperatorHandle& op) { return (op.*definition)->op; }
};
const c10::impl::OperatorEntry& entry_of(const c10::OperatorHandle& op);
template struct Private<&c10::OperatorHandle::operatorDef_>;

}  // namespace

const c10::KernelFunction& kernel_for(const c10::OperatorHandle& op, c10::DispatchKeySet keys) {
  return entry_of(op).lookup(keys);
}

const KernelPlace* find_kernel_place(const char* name, const char* overload, const Masquerade& native) {
  const c10::OperatorHandle op = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
  // Leaked, as kernels may run until the process ends. Two threads at once may find it twice.
  return new KernelPlace{kernel_for(op, native.native_dense), op};
}

}  // namespace torchdevice::forward
