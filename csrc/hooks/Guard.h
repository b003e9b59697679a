// hooks/Guard.h: CUDA's entry in torch's table of device guards.

#pragma once

#include <functional>

namespace torchdevice {

/// Register the guard of device type CUDA, which is never destroyed; returns what puts the one before back.
std::function<void()> install_guard();

}  // namespace torchdevice
