// aten/Lstm.h: nn.LSTM in whole layers, by oneDNN.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

namespace torchdevice::aten {

/// aten::lstm.input on CUDA tensors, with its arguments on the stack.
void lstm_in_layers(const c10::OperatorHandle& op, torch::jit::Stack* stack);

}  // namespace torchdevice::aten
