// hooks/Profiler.h: device time for torch.autograd.profiler and torch.profiler.

#pragma once

#include <functional>

namespace torchdevice {

/// Give torch's profiler CUDA's methods: events around each operator, and NVTX ranges; returns what takes them back.
std::function<void()> install_profiler();

}  // namespace torchdevice
