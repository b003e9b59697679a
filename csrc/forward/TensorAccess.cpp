// forward/TensorAccess.cpp: the protected members of TensorImpl that alias and adopt must set.

#include "forward/TensorAccess.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <type_traits>

namespace torchdevice::forward {

AliasWord TensorAccess::alias_word(c10::Device native) {
// Of classes with virtual functions offsetof is up to the compiler. g++ and clang have it, and warn of others.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
  // The word is the dtype, the device, and all flags: what comes after the flags begins where the word ends.
  constexpr size_t kBegin = offsetof(TensorAccess, data_type_);
  constexpr size_t kEnd = kBegin + sizeof(uint64_t);
  static_assert(kBegin < offsetof(TensorAccess, device_opt_) &&
                    offsetof(TensorAccess, device_opt_) + sizeof(device_opt_) < kEnd &&
                    offsetof(TensorAccess, key_set_) == kEnd,
                "torchdevice does not know the layout of this torch's tensors");
#pragma GCC diagnostic pop
  static_assert(std::is_trivially_copyable_v<decltype(data_type_)> &&
                std::is_trivially_copyable_v<decltype(device_opt_)>);

  const auto made = c10::make_intrusive<TensorAccess>(c10::DispatchKeySet(), caffe2::TypeMeta::Make<float>(), native);
  TensorAccess& probe = *made;
  AliasWord result;

  probe.allow_tensor_metadata_change_ = false;
  const uint64_t plain = word(probe);
  probe.allow_tensor_metadata_change_ = true;
  const uint64_t changeable = word(probe) ^ plain;

  std::array<std::byte, sizeof(plain)> device{};
  const auto offset =
      reinterpret_cast<const std::byte*>(&*probe.device_opt_) - reinterpret_cast<const std::byte*>(&probe.data_type_);
  std::fill_n(device.begin() + offset, sizeof(c10::Device), std::byte{0xFF});
  const auto device_bits = std::bit_cast<uint64_t>(device);
  result.kept = ~(changeable | device_bits);
  result.added = changeable | (plain & device_bits);

  set_word(probe, plain);
  probe.sizes_strides_policy_ = static_cast<uint8_t>(SizesStridesPolicy::CustomSizes);
  result.unusual |= word(probe) ^ plain;
  probe.sizes_strides_policy_ = static_cast<uint8_t>(SizesStridesPolicy::CustomStrides);
  result.unusual |= word(probe) ^ plain;
  probe.device_policy_ = true;
  probe.layout_policy_ = true;
  probe.storage_access_should_throw_ = true;
  result.unusual |= word(probe) ^ plain;
  return result;
}

}  // namespace torchdevice::forward
