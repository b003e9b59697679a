// forward/TensorAccess.h: the protected members of TensorImpl that alias and adopt must set.

#pragma once

#include <c10/core/TensorImpl.h>

#include <cstring>

#include "forward/Masquerade.h"

namespace torchdevice::forward {

/// Names protected members through a derived class, which C++ allows; never instantiated.
struct TensorAccess : c10::TensorImpl {
  static c10::DispatchKeySet& keys(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::key_set_); }
  static std::optional<c10::Device>& device(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::device_opt_); }
  static c10::Storage& storage(c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::storage_); }
  /// Cheaper than use_count() of a pointer, which may be null.
  static bool is_held_once(const c10::intrusive_ptr_target& target) {
    return c10::raw::intrusive_ptr::use_count(const_cast<c10::intrusive_ptr_target*>(&target)) == 1;
  }
  static bool has_storage(const c10::TensorImpl& tensor, const c10::StorageImpl* storage) {
    return (tensor.*(&TensorAccess::storage_)).unsafeGetStorageImpl() == storage;
  }
  static int64_t storage_offset(const c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::storage_offset_); }
  static const c10::impl::SizesAndStrides& geometry(const c10::TensorImpl& tensor) {
    return tensor.*(&TensorAccess::sizes_and_strides_);
  }

  /// An alias gets its source's sizes, strides, offset, dtype and layout flags; neither keys, storage nor autograd
  /// state.
  static void copy_metadata(const c10::TensorImpl& from, c10::TensorImpl& to, const AliasWord& how) {
    auto& target = static_cast<TensorAccess&>(to);
    copy_generic_tensor_metadata(&from, &to);
    target.set_word((target.word() & how.kept) | how.added);
  }
  /// The same, if all of it lies within the tensors.
  C10_ALWAYS_INLINE static bool copy_usual_metadata(const c10::TensorImpl& from, c10::TensorImpl& to,
                                                    const AliasWord& how) {
    const auto& source = static_cast<const TensorAccess&>(from);
    auto& target = static_cast<TensorAccess&>(to);
    const uint64_t word = source.word();
    const bool elsewhere = (word & how.unusual) != 0 || source.extra_meta_ != nullptr || target.extra_meta_ != nullptr;
    if (C10_UNLIKELY(elsewhere || !source.is_small() || !target.is_small())) {
      return false;
    }
    // NOLINTNEXTLINE(bugprone-undefined-memory-manipulation): within the tensor they are plain numbers
    std::memcpy(static_cast<void*>(&target.sizes_and_strides_), &source.sizes_and_strides_, sizeof(sizes_and_strides_));
    target.storage_offset_ = source.storage_offset_;
    target.numel_ = source.numel_;
    target.set_word((word & how.kept) | how.added);
    return true;
  }

  /// Only the compiler knows where the bit fields are, so they are set on a tensor made for that.
  static AliasWord alias_word(c10::Device native);

 private:
  /// Sizes and strides lie within the tensor.
  bool is_small() const { return sizes_and_strides_.size() <= C10_SIZES_AND_STRIDES_MAX_INLINE_SIZE; }
  uint64_t word() const {
    uint64_t word = 0;
    std::memcpy(&word, &data_type_, sizeof(word));
    return word;
  }
  void set_word(uint64_t word) { std::memcpy(static_cast<void*>(&data_type_), &word, sizeof(word)); }
};

}  // namespace torchdevice::forward
