// runtime/LostContext.h: what a process cannot do any more after a failed assertion on the device.

#pragma once

namespace torchdevice {

// Note [A lost context]
// On a GPU a failed assertion is the end of CUDA in its process: every later call raises the same error. Here nothing
// is lost, and programs go on, unless they ask to hear what a GPU would say (TORCHDEVICE_STRICT=2). Kernels look while
// something is captured, or the context is lost: see must_pass_capture_key().

/// From now on check_context() throws, until restore_context().
void lose_context();
void restore_context();

/// Throws CUDA's error of a failed assertion if the context is lost.
void check_context();

}  // namespace torchdevice
