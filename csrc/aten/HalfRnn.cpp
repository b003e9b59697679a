// aten/HalfRnn.cpp: recurrent layers in halves, whole. Step by step each product would convert the weights again, and
// the state would be rounded; cuDNN, which a GPU has for these, casts for autocast once and accumulates in float32.

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/ops/gru_ops.h>
#include <ATen/ops/lstm_ops.h>
#include <ATen/ops/rnn_relu_ops.h>
#include <ATen/ops/rnn_tanh_ops.h>

#include <optional>

#include "aten/Lstm.h"
#include "forward/NativeKernel.h"
#include "forward/Registrar.h"
#include "forward/half/HalfRule.h"

namespace torchdevice::aten {
namespace {

/// Applies `change` to each floating-point CUDA tensor of `value`.
template <class Change>
c10::IValue changed(const c10::IValue& value, const Change& change) {
  const auto apply = [&](const at::Tensor& tensor) {
    return tensor.defined() && tensor.is_cuda() && tensor.is_floating_point() ? change(tensor) : tensor;
  };
  if (value.isTensor()) {
    return apply(value.toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> tensors;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      tensors.push_back(apply(tensor));
    }
    return tensors;
  }
  return value;
}

template <class Change>
void change_last(torch::jit::Stack& stack, size_t count, const Change& change) {
  for (size_t i = stack.size() - count; i < stack.size(); ++i) {
    stack[i] = changed(stack[i], change);
  }
}

/// The one floating-point type of the arguments; Undefined where there are several, which is an error that the kernels
/// have the text of.
at::ScalarType common_type(const torch::jit::Stack& stack, size_t count) {
  at::ScalarType common = at::ScalarType::Undefined;
  bool differ = false;
  for (size_t i = stack.size() - count; i < stack.size(); ++i) {
    changed(stack[i], [&](const at::Tensor& tensor) {
      differ |= common != at::ScalarType::Undefined && common != tensor.scalar_type();
      common = tensor.scalar_type();
      return tensor;
    });
  }
  return differ ? at::ScalarType::Undefined : common;
}

using forward::Recurrent;
using Kernel = void (*)(const c10::OperatorHandle& op, torch::jit::Stack* stack);

void compose(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  op.redispatchBoxed(forward::kCompositeKeys, stack);
}

template <Kernel kernel, forward::Recurrent layers>
void whole(const c10::OperatorHandle& op, c10::DispatchKeySet /*keys*/, torch::jit::Stack* stack) {
  const size_t arguments = op.schema().arguments().size();
  std::optional<c10::impl::ExcludeDispatchKeyGuard> without_autocast;
  if (at::autocast::is_autocast_enabled(at::kCUDA) && at::globalContext().userEnabledCuDNN()) {
    const at::ScalarType type = at::autocast::get_autocast_dtype(at::kCUDA);
    change_last(*stack, arguments,
                [type](const at::Tensor& tensor) { return at::autocast::cached_cast(type, tensor, at::kCUDA); });
    without_autocast.emplace(c10::DispatchKey::AutocastCUDA);
  }
  const at::ScalarType type = common_type(*stack, arguments);
  if (!forward::runs_in_float32(layers, type)) {
    kernel(op, stack);
    return;
  }
  const auto to = [](at::ScalarType wanted, at::ScalarType replaced) {
    return [=](const at::Tensor& tensor) { return tensor.scalar_type() == replaced ? tensor.to(wanted) : tensor; };
  };
  change_last(*stack, arguments, to(at::kFloat, type));
  kernel(op, stack);
  change_last(*stack, op.schema().returns().size(), to(type, at::kFloat));
}

template <class Op, Kernel kernel, forward::Recurrent layers>
void implement_whole(forward::Registrar& registrar) {
  for (const auto key : {c10::DispatchKey::CUDA, c10::DispatchKey::AutogradCUDA}) {
    registrar.add({Op::name, Op::overload_name}, key,
                  c10::KernelFunction::makeFromBoxedFunction<&whole<kernel, layers>>());
  }
}

}  // namespace

// Composite: under autograd's key too, so that the parts are what autograd records.
void register_half_rnn(forward::Registrar& registrar) {
  implement_whole<at::_ops::lstm_input, &lstm_in_layers, Recurrent::kLstm>(registrar);
  implement_whole<at::_ops::lstm_data, &compose, Recurrent::kOther>(registrar);
  implement_whole<at::_ops::gru_input, &compose, Recurrent::kOther>(registrar);
  implement_whole<at::_ops::gru_data, &compose, Recurrent::kOther>(registrar);
  implement_whole<at::_ops::rnn_tanh_input, &compose, Recurrent::kOther>(registrar);
  implement_whole<at::_ops::rnn_tanh_data, &compose, Recurrent::kOther>(registrar);
  implement_whole<at::_ops::rnn_relu_input, &compose, Recurrent::kOther>(registrar);
  implement_whole<at::_ops::rnn_relu_data, &compose, Recurrent::kOther>(registrar);
}

}  // namespace torchdevice::aten
