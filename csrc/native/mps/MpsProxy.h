// native/mps/MpsProxy.h: keeps torch from counting MPS as a second accelerator beside CUDA.

#pragma once

namespace torchdevice {

/// On a torch with MPS, put a forwarding proxy into its hooks slot; elsewhere do nothing. See Note [One accelerator].
void install_mps_proxy();

}  // namespace torchdevice
