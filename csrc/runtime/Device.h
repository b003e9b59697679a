// runtime/Device.h: how many CUDA devices there are and which one is current.

#pragma once

#include <c10/core/Device.h>

namespace torchdevice {

/// Number of CUDA devices, from TORCHDEVICE_COUNT (default 1); fixed for the life of the process.
c10::DeviceIndex device_count() noexcept;

/// This thread's current device.
c10::DeviceIndex current_device() noexcept;

/// Throws c10::AcceleratorError with CUDA's text for an ordinal outside [0, device_count()).
void check_device(c10::DeviceIndex index);

/// Make `index` current in this thread; throws as check_device.
void set_current_device(c10::DeviceIndex index);

/// Make `index` current and return the previous one; a negative index changes nothing.
c10::DeviceIndex exchange_device(c10::DeviceIndex index);

}  // namespace torchdevice
