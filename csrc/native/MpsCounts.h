// native/MpsCounts.h: what using the CPU beside MPS has cost; for the report and for tests.

#pragma once

#include <atomic>
#include <cstdint>

namespace torchdevice {

struct MpsCounts {
  std::atomic<uint64_t> synchronizations{0};  ///< every wait for the device
  std::atomic<uint64_t> transitions{0};       ///< those made because the CPU's turn came
  std::atomic<uint64_t> waited_nanoseconds{0};
  std::atomic<uint64_t> copied_bytes{0};  ///< results of CPU kernels that lay elsewhere
};

inline constinit MpsCounts mps_counts;

}  // namespace torchdevice
