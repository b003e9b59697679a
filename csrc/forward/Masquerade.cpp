// forward/Masquerade.cpp: key sets and devices on both sides of the masquerade.

#include "forward/Masquerade.h"

#include "native/Backend.h"

namespace torchdevice::forward {

Masquerade masquerade;  // NOLINT(bugprone-throwing-static-initialization): c10::Device checks a constant

void begin_masquerade() {
  const NativeBackend& native = native_backend();
  const c10::DispatchKeySet backend(native.component());
  masquerade.native_device = native.device();
  masquerade.native_dense = c10::DispatchKeySet(c10::DispatchKey::Dense) | backend;
  masquerade.native_backend_bit = backend.raw_repr();
  masquerade.native_autocast_key = c10::getAutocastRelatedKeySetFromBackend(native.component()).raw_repr();
}

}  // namespace torchdevice::forward
