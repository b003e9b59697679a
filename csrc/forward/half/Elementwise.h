// forward/half/Elementwise.h: elementwise operators in float32, block by block: no copy of a whole tensor.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

namespace torchdevice::forward {

/// Replaces the arguments on the stack by the result if all tensors have the half type and lie alike in memory, and are
/// too large for a core's cache in float32; false if they do not.
bool run_elementwise(const c10::OperatorHandle& op, torch::jit::Stack& stack, at::ScalarType half);

}  // namespace torchdevice::forward
