// hooks/Hooks.h: what ATen asks of CUDA: availability, generators, pinned memory, versions.

#pragma once

namespace torchdevice {

/// Put our hooks into the object that torch answers from.
void install_hooks();

}  // namespace torchdevice
