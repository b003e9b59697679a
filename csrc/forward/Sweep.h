// forward/Sweep.h: other libraries' kernels for NVIDIA's GPUs give way.

#pragma once

#include "forward/Registrar.h"

namespace torchdevice::forward {

/// Gives operators that still have somebody else's compiled kernel under one of CUDA's keys a kernel of ours: the one
/// that torch composes of other operators, if there is one, else the boxed fallback. On a CUDA build of torch, after
/// all kernels of ours; and again after a library with compiled CUDA code was loaded. Kernels written in Python stay,
/// but for those that torch has in Triton.
void sweep(Registrar& registrar);

/// Gives an operator whose kernel in Python turned out to need NVIDIA's libraries one of ours: the native kernel behind
/// the boxed fallback, or the composite one. False if it has neither, or no kernel of somebody else's.
bool take_over(Registrar& registrar, const c10::OperatorName& name);

}  // namespace torchdevice::forward
