// forward/TensorAccess.h: the protected members of TensorImpl that alias and adopt must set.

#pragma once

#include <c10/core/TensorImpl.h>

namespace torchdevice::forward {

/// Names protected members through a derived class, which C++ allows; never instantiated.
struct TensorAccess : c10::TensorImpl {
  static c10::DispatchKeySet& keys(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::key_set_); }
  static std::optional<c10::Device>& device(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::device_opt_); }
  static c10::Storage& storage(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::storage_); }
  static int64_t storage_offset(const c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::storage_offset_); }
  static const c10::impl::SizesAndStrides& geometry(const c10::TensorImpl& tensor) {
    return tensor.*(&TensorAccess::sizes_and_strides_);
  }

  /// Sizes, strides, offset, dtype, device and layout flags; neither keys nor storage nor autograd state.
  static void copy_metadata(const c10::TensorImpl& from, c10::TensorImpl& to) {
    copy_generic_tensor_metadata(&from, &to);
  }
};

}  // namespace torchdevice::forward
