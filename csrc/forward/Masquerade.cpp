// forward/Masquerade.cpp: key sets and devices on both sides of the masquerade.

#include "forward/Masquerade.h"

#include <c10/core/InferenceMode.h>
#include <c10/core/TensorImpl.h>

#include "forward/TensorAccess.h"
#include "forward/fallback/Tally.h"
#include "native/Backend.h"

namespace torchdevice::forward {
namespace {

/// The keys that a tensor is made with outside of inference mode.
c10::DispatchKeySet keys_of_new_tensor(c10::DispatchKeySet dense, c10::Device device) {
  const c10::InferenceMode no_inference(false);
  return c10::make_intrusive<c10::TensorImpl>(dense, caffe2::TypeMeta::Make<float>(), device)->key_set();
}

Masquerade masquerade_of(size_t ordinal, c10::Device device, c10::BackendComponent component) {
  const c10::DispatchKeySet backend(component);
  Masquerade result;
  result.ordinal = ordinal;
  result.native_device = device;
  result.native_dense = c10::DispatchKeySet(c10::DispatchKey::Dense) | backend;
  result.native_backend_bit = backend.raw_repr();
  result.native_autocast_key = c10::getAutocastRelatedKeySetFromBackend(component).raw_repr();
  result.dense_native_keys = kDenseKey | backend.raw_repr();
  const c10::DispatchKeySet usual = keys_of_new_tensor(result.native_dense, device);
  result.usual_result_keys = usual.raw_repr();
  result.usual_adopted_keys = adopted_keys(usual, result);
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
  masquerade = masquerade_of(0, native.device(), native.component());
  masquerade.has_choice = has_fallback() || report_is_on();
  host_masquerade = masquerade_of(1, c10::kCPU, c10::BackendComponent::CPUBit);
  host_masquerade.translates_addresses = true;
  host_masquerade.alias_word.unusual = host_masquerade.dense_native_keys = host_masquerade.usual_result_keys =
      ~uint64_t{0};
}

}  // namespace torchdevice::forward
