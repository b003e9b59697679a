// forward/TensorAccess.cpp: the protected members of TensorImpl that alias and adopt must set.

#include "forward/TensorAccess.h"

#include <algorithm>
#include <array>
#include <bit>

namespace torchdevice::forward {

AliasWord TensorAccess::alias_word(c10::Device native) {
  const auto made =
      c10::make_intrusive<c10::TensorImpl>(c10::DispatchKeySet(), caffe2::TypeMeta::Make<float>(), native);
  auto& probe = static_cast<TensorAccess&>(*made);
  AliasWord result;

  probe.allow_tensor_metadata_change_ = false;
  const uint64_t plain = probe.word();
  probe.allow_tensor_metadata_change_ = true;
  const uint64_t changeable = probe.word() ^ plain;

  std::array<std::byte, sizeof(plain)> device{};
  const auto offset =
      reinterpret_cast<const std::byte*>(&*probe.device_opt_) - reinterpret_cast<const std::byte*>(&probe.data_type_);
  std::fill_n(device.begin() + offset, sizeof(c10::Device), std::byte{0xFF});
  const auto device_bits = std::bit_cast<uint64_t>(device);
  result.kept = ~(changeable | device_bits);
  result.added = changeable | (plain & device_bits);

  probe.set_word(plain);
  probe.sizes_strides_policy_ = static_cast<uint8_t>(SizesStridesPolicy::CustomSizes);
  result.unusual |= probe.word() ^ plain;
  probe.sizes_strides_policy_ = static_cast<uint8_t>(SizesStridesPolicy::CustomStrides);
  result.unusual |= probe.word() ^ plain;
  probe.device_policy_ = true;
  probe.layout_policy_ = true;
  probe.storage_access_should_throw_ = true;
  result.unusual |= probe.word() ^ plain;
  return result;
}

}  // namespace torchdevice::forward
