// forward/checks/Strictness.h: TORCHDEVICE_STRICT: what becomes of calls that a GPU refuses and the native backend can
// do.

#pragma once

namespace torchdevice::forward {

enum class Strictness : unsigned char {
  kLenient,      ///< they run
  kAsCuda,       ///< they raise CUDA's errors
  kContextLost,  ///< and after a failed assertion on the device CUDA can do nothing more, as in a real process
};

/// Throws c10::ValueError for an unknown value of the setting. Before the first kernel is registered.
void read_strictness();

Strictness strictness() noexcept;
inline bool is_strict() noexcept { return strictness() != Strictness::kLenient; }

}  // namespace torchdevice::forward
