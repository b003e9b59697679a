// forward/Masquerade.cpp: key sets and devices on both sides of the masquerade.

#include "forward/Masquerade.h"

#include "forward/Report.h"
#include "forward/TensorAccess.h"
#include "native/Backend.h"

namespace torchdevice::forward {
namespace {

Masquerade masquerade_of(c10::Device device, c10::BackendComponent component) {
  const c10::DispatchKeySet backend(component);
  Masquerade result;
  result.native_device = device;
  result.native_dense = c10::DispatchKeySet(c10::DispatchKey::Dense) | backend;
  result.native_backend_bit = backend.raw_repr();
  result.native_autocast_key = c10::getAutocastRelatedKeySetFromBackend(component).raw_repr();
  result.dense_native_keys = kDenseKey | backend.raw_repr();
  result.alias_word = TensorAccess::alias_word(device);
  return result;
}

}  // namespace

// NOLINTBEGIN(bugprone-throwing-static-initialization): c10::Device checks a constant
Masquerade masquerade;
Masquerade host_masquerade;
// NOLINTEND(bugprone-throwing-static-initialization)

void begin_masquerade() {
  const NativeBackend& native = native_backend();
  masquerade = masquerade_of(native.device(), native.component());
  masquerade.has_choice = has_fallback() || report_is_on();
  host_masquerade = masquerade_of(c10::kCPU, c10::BackendComponent::CPUBit);
  host_masquerade.translates_addresses = true;
  host_masquerade.dense_native_keys = ~uint64_t{0};
}

}  // namespace torchdevice::forward
