// hooks/Guard.h: CUDA's entry in torch's table of device guards.

#pragma once

namespace torchdevice {

/// Register the guard of device type CUDA; the guard is never destroyed.
void install_guard();

}  // namespace torchdevice
