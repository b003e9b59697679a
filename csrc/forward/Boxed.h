// forward/Boxed.h: the boxed kernels, for operators whose C++ types are not known here.

#pragma once

#include <ATen/core/boxing/KernelFunction.h>
#include <c10/core/DispatchKey.h>

#include <functional>

namespace torchdevice::forward {

/// Forwards any operator through the stack to the native backend's kernel for tensors of one kind: Dense, Sparse,
/// SparseCsr, Quantized or NestedTensor.
template <c10::DispatchKey functionality>
c10::KernelFunction boxed_kernel();

/// Runs the CPU's kernel for tensors of that kind on the CUDA tensors as they are: for kernels that torch
/// shares between devices, which only call other operators on the dense tensors inside.
template <c10::DispatchKey functionality>
c10::KernelFunction shared_kernel();

/// Registers the boxed kernel for operators that other libraries bring; returns what takes it back.
std::function<void()> register_boxed_fallback();

}  // namespace torchdevice::forward
