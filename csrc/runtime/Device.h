// runtime/Device.h: how many CUDA devices there are and which one is current.

#pragma once

#include <c10/core/Device.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace torchdevice {

/// The most devices that TORCHDEVICE_COUNT may ask for; torch.cuda itself counts no further than 64.
constexpr c10::DeviceIndex kMaxDevices = 64;

/// Devices that exist, from TORCHDEVICE_COUNT (default 1). Throws c10::ValueError (ValueError) unless it is 1..64.
int configured_device_count();

/// Read and check the settings of devices; to be called once at activation. Does not fix device_count() yet, as
/// programs set CUDA_VISIBLE_DEVICES after `import torch`, before the first use of CUDA.
void check_device_settings();

/// Number of CUDA devices: the configured ones that CUDA_VISIBLE_DEVICES lets through; fixed by the first call.
c10::DeviceIndex device_count() noexcept;

/// The configured ordinal behind each visible device, as CUDA_VISIBLE_DEVICES orders them.
const std::vector<int>& visible_devices();

/// The 16 bytes that name the configured device `ordinal`; the same in every process.
std::array<uint8_t, 16> device_uuid(int ordinal) noexcept;

/// The usual 8-4-4-4-12 hexadecimal form.
std::string uuid_text(const std::array<uint8_t, 16>& uuid);

/// Compute capability of every device, from TORCHDEVICE_CAPABILITY (default 8.0).
std::pair<int, int> compute_capability();

/// This thread's current device.
c10::DeviceIndex current_device() noexcept;

/// Throws c10::AcceleratorError with CUDA's text for an ordinal outside [0, device_count()).
void check_device(c10::DeviceIndex index);

/// Make `index` current in this thread; throws as check_device.
void set_current_device(c10::DeviceIndex index);

/// Make `index` current and return the previous one; a negative index changes nothing.
c10::DeviceIndex exchange_device(c10::DeviceIndex index);

/// As set_current_device for destructors: an ordinal that does not exist is ignored.
void restore_device(c10::DeviceIndex index) noexcept;

/// The current device for -1, else `index`.
inline c10::DeviceIndex resolve_device(c10::DeviceIndex index) noexcept {
  return index == -1 ? current_device() : index;
}

/// A number of a program as the index of a device, which may not exist. Throws c10::Error with torch's text, as the
/// cast would leave a part of the number: 256 is not device 0.
c10::DeviceIndex device_index_of(int64_t number);

/// Whether this process has made `index` current or put memory on it: CUDA would hold a context there.
bool has_context(c10::DeviceIndex index) noexcept;
void note_context(c10::DeviceIndex index) noexcept;

/// Whether torch's lazy initialisation of CUDA has run.
bool cuda_is_initialized() noexcept;
/// It runs now; false if it had run before.
bool note_cuda_initialized() noexcept;

}  // namespace torchdevice
