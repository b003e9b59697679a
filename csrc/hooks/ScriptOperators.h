// hooks/ScriptOperators.h: what torch.cuda's functions on devices become in TorchScript.

#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>

namespace torchdevice {

/// The device that a script names; -1, which means the current one, if it names none.
inline c10::DeviceIndex script_device(std::optional<c10::Device> device) {
  return device.has_value() ? device->index() : c10::DeviceIndex{-1};
}
inline c10::DeviceIndex script_device(std::optional<int64_t> index) {
  return static_cast<c10::DeviceIndex>(index.value_or(-1));
}

/// Registers them; a CUDA build's libtorch_cuda brings them along.
void register_script_operators();

}  // namespace torchdevice
