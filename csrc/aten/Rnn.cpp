// aten/Rnn.cpp: the fused LSTM and GRU cells that at::native uses for CUDA tensors only, composed of operators.

#include <ATen/TensorOperators.h>
#include <ATen/ops/_thnn_fused_gru_cell_backward_ops.h>
#include <ATen/ops/_thnn_fused_gru_cell_ops.h>
#include <ATen/ops/_thnn_fused_lstm_cell_backward_impl_ops.h>
#include <ATen/ops/_thnn_fused_lstm_cell_ops.h>
#include <ATen/ops/cat.h>

#include "aten/OptionalTensor.h"
#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

at::Tensor with_bias(const at::Tensor& gates, const OptionalTensor& bias) {
  return given(bias) ? gates + *bias : gates;
}

at::Tensor zeros_if_undefined(const OptionalTensor& gradient, const at::Tensor& like) {
  return given(gradient) ? *gradient : like.new_zeros(like.sizes());
}

at::Tensor sigmoid_slope(const at::Tensor& activated) { return activated * (1 - activated); }
at::Tensor tanh_slope(const at::Tensor& activated) { return 1 - activated * activated; }

at::Tensor bias_gradient(const at::Tensor& gates, bool has_bias) { return has_bias ? gates.sum(0) : at::Tensor(); }

/// (hy, cy, workspace): the workspace holds the activated gates in the order in, forget, cell, out.
std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm_cell(const at::Tensor& input_gates, const at::Tensor& hidden_gates,
                                                         const at::Tensor& cx, const OptionalTensor& input_bias,
                                                         const OptionalTensor& hidden_bias) {
  const auto gates = (with_bias(input_gates, input_bias) + with_bias(hidden_gates, hidden_bias)).chunk(4, 1);
  const at::Tensor in = gates[0].sigmoid();
  const at::Tensor forget = gates[1].sigmoid();
  const at::Tensor cell = gates[2].tanh();
  const at::Tensor out = gates[3].sigmoid();
  at::Tensor cy = forget * cx + in * cell;
  return {out * cy.tanh(), cy, at::cat({in, forget, cell, out}, 1)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm_cell_backward(const OptionalTensor& grad_hy,
                                                                  const OptionalTensor& grad_cy, const at::Tensor& cx,
                                                                  const at::Tensor& cy, const at::Tensor& workspace,
                                                                  bool has_bias) {
  const auto gates = workspace.chunk(4, 1);
  const at::Tensor &in = gates[0], &forget = gates[1], &cell = gates[2], &out = gates[3];
  const at::Tensor gh = zeros_if_undefined(grad_hy, cx);
  const at::Tensor tanh_cy = cy.tanh();
  const at::Tensor gc = gh * out * tanh_slope(tanh_cy) + zeros_if_undefined(grad_cy, cx);
  at::Tensor grad_gates = at::cat({gc * cell * sigmoid_slope(in), gc * cx * sigmoid_slope(forget),
                                   gc * in * tanh_slope(cell), gh * tanh_cy * sigmoid_slope(out)},
                                  1);
  at::Tensor grad_bias = bias_gradient(grad_gates, has_bias);
  return {std::move(grad_gates), gc * forget, std::move(grad_bias)};
}

/// (hy, workspace): the workspace holds reset, update, new, hx and the hidden part of the new gate.
std::tuple<at::Tensor, at::Tensor> gru_cell(const at::Tensor& input_gates, const at::Tensor& hidden_gates,
                                            const at::Tensor& hx, const OptionalTensor& input_bias,
                                            const OptionalTensor& hidden_bias) {
  const auto input = with_bias(input_gates, input_bias).chunk(3, 1);
  const auto hidden = with_bias(hidden_gates, hidden_bias).chunk(3, 1);
  const at::Tensor reset = (input[0] + hidden[0]).sigmoid();
  const at::Tensor update = (input[1] + hidden[1]).sigmoid();
  const at::Tensor fresh = (input[2] + reset * hidden[2]).tanh();
  return {fresh + update * (hx - fresh), at::cat({reset, update, fresh, hx, hidden[2]}, 1)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> gru_cell_backward(const at::Tensor& grad_hy,
                                                                                         const at::Tensor& workspace,
                                                                                         bool has_bias) {
  const auto saved = workspace.chunk(5, 1);
  const at::Tensor &reset = saved[0], &update = saved[1], &fresh = saved[2], &hx = saved[3], &hidden = saved[4];
  const at::Tensor grad_fresh = grad_hy * (1 - update) * tanh_slope(fresh);
  const at::Tensor grad_update = grad_hy * (hx - fresh) * sigmoid_slope(update);
  const at::Tensor grad_reset = grad_fresh * hidden * sigmoid_slope(reset);
  at::Tensor grad_input = at::cat({grad_reset, grad_update, grad_fresh}, 1);
  at::Tensor grad_hidden = at::cat({grad_reset, grad_update, grad_fresh * reset}, 1);
  at::Tensor grad_input_bias = bias_gradient(grad_input, has_bias);
  at::Tensor grad_hidden_bias = bias_gradient(grad_hidden, has_bias);
  return {std::move(grad_input), std::move(grad_hidden), grad_hy * update, std::move(grad_input_bias),
          std::move(grad_hidden_bias)};
}

}  // namespace

void register_rnn(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_thnn_fused_lstm_cell>(TORCH_FN(lstm_cell));
  registrar.implement<at::_ops::_thnn_fused_lstm_cell_backward_impl>(TORCH_FN(lstm_cell_backward));
  registrar.implement<at::_ops::_thnn_fused_gru_cell>(TORCH_FN(gru_cell));
  registrar.implement<at::_ops::_thnn_fused_gru_cell_backward>(TORCH_FN(gru_cell_backward));
}

}  // namespace torchdevice::aten
