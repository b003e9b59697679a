// runtime/Hooks.h: what ATen asks of CUDA: availability, generators, pinned memory, versions.

#pragma once

namespace torchdevice {

/// Put our hooks into the object that torch answers from; on a torch with MPS also install_mps_proxy().
void install_hooks();

/// Whether torch's lazy initialisation of CUDA has run.
bool cuda_is_initialized() noexcept;

}  // namespace torchdevice
