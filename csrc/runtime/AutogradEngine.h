// runtime/AutogradEngine.h: the state of torch's autograd engine, which starts its device threads only once.

#pragma once

namespace torchdevice {

/// Whether the autograd engine has run a backward pass in this process. To be asked before install_guard().
bool backward_has_run();

}  // namespace torchdevice
