// hooks/Profiler.h: device time for torch.autograd.profiler and torch.profiler.

#pragma once

namespace torchdevice {

/// Give torch's profiler CUDA's methods: events around each operator, and NVTX ranges.
void install_profiler();

}  // namespace torchdevice
