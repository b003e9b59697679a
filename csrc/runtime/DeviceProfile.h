// runtime/DeviceProfile.h: the GPU that devices present themselves as, and the CUDA release that goes with it.

#pragma once

#include <array>
#include <cstddef>
#include <string>

namespace torchdevice {

/// A named GPU, from TORCHDEVICE_PROFILE. Everything that its compute capability fixes is not here.
struct DeviceProfile {
  const char* key;   ///< the setting's value
  const char* name;  ///< what torch.cuda.get_device_name() says
  int major;         ///< compute capability
  int minor;
  int multiprocessors;
  size_t memory_bytes;  ///< the data sheet's capacity; a card reports up to 8 % less (ECC, the driver's own share)
  size_t l2_cache_bytes;
  int clock_khz;  ///< boost clock
  int memory_clock_khz;
  int memory_bus_bits;
};

/// The GPU that TORCHDEVICE_PROFILE names; nullptr without the setting: devices then say what the host is. Throws
/// c10::ValueError (ValueError) for a name that is not in the table.
const DeviceProfile* device_profile();

/// Whether TORCHDEVICE_PROFILE or TORCHDEVICE_CAPABILITY says which GPU the devices are: only then do they refuse what
/// such a GPU lacks and the host has.
bool gpu_is_chosen();

/// Bytes of each device: what TORCHDEVICE_MEMORY says, else TORCHDEVICE_PROFILE, else what the native backend has.
/// Throws c10::ValueError (ValueError) for a setting that is no size.
size_t device_total_memory();

/// What CUDA's programming guide fixes for a compute capability.
struct CapabilityLimits {
  int capability;  ///< 10 * major + minor; the row holds up to the next one
  int threads_per_multiprocessor;
  int shared_per_multiprocessor_kib;
  int shared_per_block_optin_kib;
};

/// The row of compute_capability().
const CapabilityLimits& capability_limits();

/// How many threads a device runs at once: which of a kernel's threads gets an element, and so which random number,
/// depends on it. An A100's without a profile, so that a seed gives the same numbers on every host.
int64_t grid_threads();

/// The versions of NVIDIA's libraries in the torch wheel that serves a compute capability.
struct CudaRelease {
  int cuda;   ///< as CUDART_VERSION counts: 12060 is 12.6
  int cudnn;  ///< as cudnnGetVersion() counts: 91002 is 9.10.2
  std::array<int, 3> nccl;
  const char* architectures;  ///< what the wheel was compiled for, as torch.cuda.get_arch_list() splits it

  /// "12.6"
  std::string cuda_text() const { return std::to_string(cuda / 1000) + "." + std::to_string(cuda / 10 % 100); }
};

/// A CUDA build's own, as it was given; else the release for compute_capability(): the oldest one of this torch that
/// runs there.
const CudaRelease& cuda_release();

/// Says what the CUDA build of torch that is loaded was made with; its architectures are those of a wheel for that
/// CUDA. Before anybody asks.
void follow_release(int cuda, int cudnn, const std::array<int, 3>& nccl);

/// cuda_release()'s architectures, and the devices' own where none of those would run on them.
std::string architecture_flags();

}  // namespace torchdevice
