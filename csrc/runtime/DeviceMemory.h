// runtime/DeviceMemory.h: how much memory a CUDA device has.

#pragma once

#include <cstddef>

namespace torchdevice {

/// Bytes of each device: what the native backend has, or less if TORCHDEVICE_MEMORY says so. Throws c10::ValueError
/// (ValueError) for a setting that is no size.
size_t device_total_memory();

}  // namespace torchdevice
