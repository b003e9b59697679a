// runtime/DeviceMemory.h: how much memory a CUDA device has.

#pragma once

#include <cstddef>

namespace torchdevice {

/// Bytes of each device: what TORCHDEVICE_MEMORY says, else TORCHDEVICE_PROFILE, else what the native backend has.
/// Throws c10::ValueError (ValueError) for a setting that is no size.
size_t device_total_memory();

}  // namespace torchdevice
