// forward/TensorAccess.h: the protected members of TensorImpl that alias and adopt must set.

#pragma once

#include <c10/core/TensorImpl.h>

#include <cstring>

namespace torchdevice::forward {

/// Names protected members through a derived class, which C++ allows; never instantiated.
struct TensorAccess : c10::TensorImpl {
  static constexpr size_t kFlagsWord = 8;

  static c10::DispatchKeySet& keys(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::key_set_); }
  static std::optional<c10::Device>& device(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::device_opt_); }
  static c10::Storage& storage(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::storage_); }
  static bool has_storage(const c10::TensorImpl& tensor, const c10::StorageImpl* storage) {
    return (tensor.*(&TensorAccess::storage_)).unsafeGetStorageImpl() == storage;
  }
  static int64_t storage_offset(const c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::storage_offset_); }
  static const c10::impl::SizesAndStrides& geometry(const c10::TensorImpl& tensor) {
    return tensor.*(&TensorAccess::sizes_and_strides_);
  }

  /// Sizes, strides, offset, dtype, device and layout flags; neither keys nor storage nor autograd state.
  C10_ALWAYS_INLINE static void copy_metadata(const c10::TensorImpl& from, c10::TensorImpl& to) {
    const auto& source = static_cast<const TensorAccess&>(from);
    auto& target = static_cast<TensorAccess&>(to);
    const bool plain = source.extra_meta_ == nullptr && source.sizes_strides_policy_ == 0 && !source.device_policy_ &&
                       !source.layout_policy_ && !source.storage_access_should_throw_;
    if (C10_UNLIKELY(!plain || target.extra_meta_ != nullptr)) {
      copy_generic_tensor_metadata(&from, &to);
      return;
    }
    target.sizes_and_strides_ = source.sizes_and_strides_;
    target.storage_offset_ = source.storage_offset_;
    target.numel_ = source.numel_;
    // The dtype, the device and the flags fill one word. Copied one by one, as torch does, the flags alone cost more
    // than all of the rest.
    std::memcpy(static_cast<void*>(&target.data_type_), &source.data_type_, kFlagsWord);
    target.allow_tensor_metadata_change_ = true;
  }
};

}  // namespace torchdevice::forward
