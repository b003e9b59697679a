// forward/Masquerade.cpp: key sets and devices on both sides of the masquerade.

#include "forward/Masquerade.h"

#include "native/Backend.h"

namespace torchdevice::forward {
namespace {

/// An alias keeps its source's autograd keys, since a composite kernel below may mix it with tensors that have them,
/// and bits that kernels look at; not its autocast and Python keys, which are for the operator as the user called it.
constexpr uint64_t kAliasKeys = bits(c10::DispatchKeySet(
    {c10::DispatchKey::Dense, c10::DispatchKey::Conjugate, c10::DispatchKey::Negative, c10::DispatchKey::ZeroTensor,
     c10::DispatchKey::ADInplaceOrView, c10::DispatchKey::AutogradFunctionality}));
constexpr uint64_t kCudaAutocastKey = bits(c10::DispatchKeySet(c10::DispatchKey::AutocastCUDA));

}  // namespace

Masquerade masquerade;  // NOLINT(bugprone-throwing-static-initialization): c10::Device checks a constant

c10::DispatchKeySet alias_keys(c10::DispatchKeySet cuda) {
  return {c10::DispatchKeySet::RAW, (cuda.raw_repr() & kAliasKeys) | masquerade.native_backend_bit};
}

c10::DispatchKeySet adopted_keys(c10::DispatchKeySet native) {
  const uint64_t kept = native.raw_repr() & ~(c10::full_backend_mask | masquerade.native_autocast_key);
  return {c10::DispatchKeySet::RAW, kept | kCudaBackendBit | kCudaAutocastKey};
}

void begin_masquerade() {
  const NativeBackend& native = native_backend();
  const c10::DispatchKeySet backend(native.component());
  masquerade.native_device = native.device();
  masquerade.native_dense = c10::DispatchKeySet(c10::DispatchKey::Dense) | backend;
  masquerade.native_backend_bit = backend.raw_repr();
  masquerade.native_autocast_key = c10::getAutocastRelatedKeySetFromBackend(native.component()).raw_repr();
}

}  // namespace torchdevice::forward
