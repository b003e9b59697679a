// forward/fallback/NativeKernels.cpp: which operators the native backend has a kernel of its own for.

#include "forward/fallback/NativeKernels.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "native/Backend.h"

namespace torchdevice::forward {

namespace {

c10::DispatchKey native_key() {
  return c10::toRuntimePerBackendFunctionalityKey(c10::DispatchKey::Dense, native_backend().component());
}

}  // namespace

std::string full_name(const char* name, const char* overload) {
  return *overload == '\0' ? std::string(name) : std::string(name) + "." + overload;
}

bool has_native_kernel(const char* name, const char* overload) {
  if (native_backend().prefers_host(full_name(name, overload))) {
    return false;
  }
  const auto op = c10::Dispatcher::singleton().findSchema({name, overload});
  // A backend's fallback is no kernel: it may raise an error.
  return op.has_value() && (op->hasKernelForDispatchKey(native_key()) ||
                            op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd) ||
                            op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutogradNonFunctional) ||
                            op->hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd));
}

bool delegates_to_out(const char* name, const char* overload) {
  const auto op = c10::Dispatcher::singleton().findSchema({name, overload});
  return op.has_value() && !op->hasKernelForDispatchKey(native_key()) &&
         op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutogradNonFunctional);
}

}  // namespace torchdevice::forward
