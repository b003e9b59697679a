// native/mps/MpsProxy.h: keeps torch from counting MPS as a second accelerator beside CUDA.

#pragma once

#include <functional>

namespace torchdevice {

/// On a torch with MPS, put a forwarding proxy into its hooks slot; elsewhere do nothing. Returns what takes it
/// out. See Note [One accelerator].
std::function<void()> install_mps_proxy();

}  // namespace torchdevice
