// forward/Sweep.h: other libraries' kernels for NVIDIA's GPUs give way.

#pragma once

#include "forward/Registrar.h"

namespace torchdevice::forward {

/// Gives operators that still have somebody else's compiled kernel under one of CUDA's keys a kernel of ours: the one
/// that torch composes of other operators, if there is one, else the boxed fallback. On a CUDA build of torch, after
/// all kernels of ours; and again after a library with compiled CUDA code was loaded. Kernels written in Python stay,
/// but for those that torch has in Triton.
void sweep(Registrar& registrar);

}  // namespace torchdevice::forward
