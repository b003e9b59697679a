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

Masquerade masquerade_of(c10::Device device, c10::BackendComponent component) {
  const c10::DispatchKeySet backend(component);
  Masquerade result;
  result.native_device = device;
  result.native_dense = c10::DispatchKeySet(c10::DispatchKey::Dense) | backend;
  result.native_backend_bit = backend.raw_repr();
  result.native_autocast_key = c10::getAutocastRelatedKeySetFromBackend(component).raw_repr();
  result.dense_native_keys = kDenseKey | backend.raw_repr();
  return result;
}

}  // namespace

// NOLINTBEGIN(bugprone-throwing-static-initialization): c10::Device checks a constant
Masquerade masquerade;
Masquerade host_masquerade;
// NOLINTEND(bugprone-throwing-static-initialization)

c10::DispatchKeySet alias_keys(c10::DispatchKeySet cuda, const Masquerade& native) {
  return {c10::DispatchKeySet::RAW, (cuda.raw_repr() & kAliasKeys) | native.native_backend_bit};
}

c10::DispatchKeySet adopted_keys(c10::DispatchKeySet keys, const Masquerade& native) {
  const uint64_t kept = keys.raw_repr() & ~(c10::full_backend_mask | native.native_autocast_key);
  return {c10::DispatchKeySet::RAW, kept | kCudaBackendBit | kCudaAutocastKey};
}

void begin_masquerade() {
  const NativeBackend& native = native_backend();
  masquerade = masquerade_of(native.device(), native.component());
  host_masquerade = masquerade_of(c10::kCPU, c10::BackendComponent::CPUBit);
  host_masquerade.translates_addresses = true;
  host_masquerade.dense_native_keys = ~uint64_t{0};
}

}  // namespace torchdevice::forward
