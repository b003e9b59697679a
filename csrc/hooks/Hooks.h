// hooks/Hooks.h: what ATen asks of CUDA: availability, generators, pinned memory, versions.

#pragma once

#include <functional>

namespace torchdevice {

/// Whether torch was built with CUDA, whose libraries are then loaded.
bool torch_is_cuda_build();

/// Put our hooks into the object that torch answers from; returns what takes them out.
std::function<void()> install_hooks();

}  // namespace torchdevice
