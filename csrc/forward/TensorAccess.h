// forward/TensorAccess.h: the protected members of TensorImpl that alias and adopt must set.

#pragma once

#include <c10/core/TensorImpl.h>

#include <cstring>

#include "forward/Masquerade.h"

namespace torchdevice::forward {

// Note [Undefined on purpose]
// What is done to torch's objects that C++ does not define, or seems not to, and why it works all the same.
// docs/torch-internals.md says how each is checked.
// - Here, eight bytes are copied from `data_type_` on, over the members that follow it. To a compiler memcpy is an
//   access to bytes, wherever a member ends, and all of them may be copied so. TensorAccess.cpp asserts their layout.
// - In hooks/Hooks.cpp and native/mps/MpsProxy.cpp an object is constructed over one of torch's. Its pointer stays in
//   use, which C++ allows for an object of the same class only. But those who call it were compiled without a view of
//   where it comes from, so each call reads the virtual table from memory.
// - In python/TensorTypes.cpp a flag in torch's private type object is written by its offset. It lies in no object that
//   a compiler here knows more of.
// - In forward/NativeKernel.cpp a private member is named. This one is legal: an explicit instantiation may do so.

/// Names protected members through a derived class, which C++ allows by pointer to member. Bit fields have none, so
/// alias_word() makes a TensorAccess to set them on.
struct TensorAccess final : c10::TensorImpl {
  using c10::TensorImpl::TensorImpl;

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
    copy_generic_tensor_metadata(&from, &to);
    set_word(to, (word(to) & how.kept) | how.added);
  }
  /// The same, if all of it lies within the tensors.
  C10_ALWAYS_INLINE static bool copy_usual_metadata(const c10::TensorImpl& from, c10::TensorImpl& to,
                                                    const AliasWord& how) {
    const uint64_t source = word(from);
    const bool elsewhere = (source & how.unusual) != 0 || has_extra(from) || has_extra(to);
    if (C10_UNLIKELY(elsewhere || !is_small(from) || !is_small(to))) {
      return false;
    }
    // Both are read before either is written, so that the compiler moves them at once.
    const int64_t offset = storage_offset(from);
    const int64_t numel = from.*(&TensorAccess::numel_);
    // NOLINTNEXTLINE(bugprone-undefined-memory-manipulation): within the tensor they are plain numbers
    std::memcpy(static_cast<void*>(&(to.*(&TensorAccess::sizes_and_strides_))), &geometry(from),
                sizeof(sizes_and_strides_));
    to.*(&TensorAccess::storage_offset_) = offset;
    to.*(&TensorAccess::numel_) = numel;
    set_word(to, (source & how.kept) | how.added);
    return true;
  }

  /// Only the compiler knows where the bit fields are, so they are set on a tensor made for that.
  static AliasWord alias_word(c10::Device native);

 private:
  static bool has_extra(const c10::TensorImpl& tensor) { return tensor.*(&TensorAccess::extra_meta_) != nullptr; }
  /// Sizes and strides lie within the tensor.
  static bool is_small(const c10::TensorImpl& tensor) {
    return geometry(tensor).size() <= C10_SIZES_AND_STRIDES_MAX_INLINE_SIZE;
  }
  // See Note [Undefined on purpose].
  static uint64_t word(const c10::TensorImpl& tensor) {
    uint64_t word = 0;
    std::memcpy(&word, &(tensor.*(&TensorAccess::data_type_)), sizeof(word));
    return word;
  }
  static void set_word(c10::TensorImpl& tensor, uint64_t word) {
    std::memcpy(static_cast<void*>(&(tensor.*(&TensorAccess::data_type_))), &word, sizeof(word));
  }
};

}  // namespace torchdevice::forward
