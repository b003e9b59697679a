// aten/Attention.cpp: scaled_dot_product_attention picks its kernel by device type; CUDA's choices run the native flash
// kernel where it can, and composed operators where it cannot.

#include <ATen/ExpandUtils.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/_fused_sdp_choice_ops.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward_ops.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_ops.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward_ops.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_ops.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward_ops.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_ops.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>

#include "aten/AttentionChoice.h"
#include "aten/AttentionMath.h"
#include "aten/Kernels.h"

namespace torchdevice::aten {
namespace {

// NOLINTBEGIN(performance-unnecessary-value-param): kernels take SymInts by value, as their schemas say; the dispatcher
// does not recognise them behind references.

int64_t choose_kernel(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                      const std::optional<at::Tensor>& mask, double dropout, bool causal,
                      std::optional<double> /*scale*/, bool grouped_query) {
  return static_cast<int64_t>(choose_attention({query, key, value, mask, dropout, causal, grouped_query}));
}

/// The native flash kernels have neither dropout nor groups of heads, and one size of features.
bool native_takes(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double dropout) {
  return dropout == 0 && query.size(1) == key.size(1) && query.size(1) == value.size(1) &&
         query.size(3) == value.size(3);
}

AttentionRule rule_of(const at::Tensor& query, const std::optional<at::Tensor>& bias, bool causal,
                      std::optional<double> scale, double dropout, const at::Tensor& kept) {
  AttentionRule rule;
  rule.scale = attention_scale(query, scale);
  rule.bias = bias;
  if (causal) rule.last = 0;
  rule.dropout = dropout;
  rule.kept = kept;
  return rule;
}

// CUDA's kernels differ in how they lay out their results, and so do traced graphs, which were made from fake ones:
// where theirs can be viewed, ours must be.

/// The tensor in the order of dimensions of another.
at::Tensor ordered_as(at::Tensor tensor, const at::Tensor& other) {
  const auto strides = at::infer_dense_strides(tensor.sizes(), other.strides());
  return tensor.strides() == strides ? std::move(tensor)
                                     : at::empty_strided(tensor.sizes(), strides, tensor.options()).copy_(tensor);
}

/// A tensor of (batch, heads, length, features) in which the heads of one position lie together.
at::Tensor by_positions(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.transpose(1, 2).contiguous().transpose(1, 2) : tensor;
}

/// What CUDA's kernels call the state of their random numbers is here what dropout kept.
struct Attended {
  at::Tensor output;
  at::Tensor logsumexp;
  at::Tensor state;
};

at::Tensor no_state(const at::Tensor& like) { return at::empty({}, like.options().dtype(at::kLong)); }

Attended attended(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                  const std::optional<at::Tensor>& bias, double dropout, bool causal, std::optional<double> scale) {
  if (native_takes(query, key, value, dropout)) {
    auto [output, logsumexp] =
        at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, dropout, causal, bias, scale);
    return {std::move(output), std::move(logsumexp), no_state(query)};
  }
  at::Tensor kept = dropout == 0 ? no_state(query) : draw_kept(query, key, dropout);
  auto [output, logsumexp] = attend(query, key, value, rule_of(query, bias, causal, scale, dropout, kept));
  return {std::move(output), std::move(logsumexp), std::move(kept)};
}

AttentionGradients gradients(const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key,
                             const at::Tensor& value, const at::Tensor& bias, const at::Tensor& output,
                             const at::Tensor& logsumexp, const at::Tensor& state, double dropout, bool causal,
                             std::optional<double> scale, bool for_bias) {
  const auto mask = bias.defined() ? std::optional(bias) : std::nullopt;
  if (for_bias || !native_takes(query, key, value, dropout)) {
    return attend_backward(grad, query, key, value, output, logsumexp,
                           rule_of(query, mask, causal, scale, dropout, state), for_bias);
  }
  auto [grad_query, grad_key, grad_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      grad, query, key, value, output, logsumexp, dropout, causal, mask, scale);
  return {std::move(grad_query), std::move(grad_key), std::move(grad_value), at::Tensor()};
}

/// What the flash and cuDNN operators return; sequences are as long as the tensors say.
using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt, at::Tensor,
                           at::Tensor, at::Tensor>;

Results results_of(Attended attended, const at::Tensor& query, const at::Tensor& key, at::Tensor debug_mask) {
  return {ordered_as(std::move(attended.output), query),
          std::move(attended.logsumexp),
          at::Tensor(),
          at::Tensor(),
          query.sym_size(2),
          key.sym_size(2),
          std::move(attended.state),
          no_state(query),
          std::move(debug_mask)};
}

Results flash(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double dropout, bool causal,
              bool /*return_debug_mask*/, std::optional<double> scale) {
  return results_of(attended(query, key, value, std::nullopt, dropout, causal, scale), query, key,
                    at::empty({0}, query.options()));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> flash_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& /*cum_seq_q*/,
    const at::Tensor& /*cum_seq_k*/, c10::SymInt /*max_q*/, c10::SymInt /*max_k*/, double dropout, bool causal,
    const at::Tensor& state, const at::Tensor& /*unused*/, std::optional<double> scale) {
  auto result = gradients(grad, query, key, value, /*bias=*/{}, output, logsumexp, state, dropout, causal, scale,
                          /*for_bias=*/false);
  return {ordered_as(std::move(result.query), query), ordered_as(std::move(result.key), key),
          ordered_as(std::move(result.value), value)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> efficient(const at::Tensor& query, const at::Tensor& key,
                                                                     const at::Tensor& value,
                                                                     const std::optional<at::Tensor>& bias,
                                                                     bool /*compute_log_sumexp*/, double dropout,
                                                                     bool causal, std::optional<double> scale) {
  auto [output, logsumexp, state] = attended(query, key, value, bias, dropout, causal, scale);
  return {by_positions(output), std::move(logsumexp), std::move(state), no_state(query)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> efficient_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& bias, const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& state,
    const at::Tensor& /*philox_offset*/, double dropout, std::array<bool, 4> wanted, bool causal,
    std::optional<double> scale) {
  auto result = gradients(grad, query, key, value, bias, output, logsumexp, state, dropout, causal, scale,
                          wanted[3] && bias.defined());
  return {by_positions(result.query), by_positions(result.key), by_positions(result.value), std::move(result.bias)};
}

Results cudnn(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
              const std::optional<at::Tensor>& bias, bool /*compute_log_sumexp*/, double dropout, bool causal,
              bool /*return_debug_mask*/, std::optional<double> scale) {
  return results_of(attended(query, key, value, bias, dropout, causal, scale), query, key, at::Tensor());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> cudnn_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& state, const at::Tensor& /*philox_offset*/,
    const at::Tensor& bias, const at::Tensor& /*cum_seq_q*/, const at::Tensor& /*cum_seq_k*/, c10::SymInt /*max_q*/,
    c10::SymInt /*max_k*/, double dropout, bool causal, std::optional<double> scale) {
  auto result = gradients(grad, query, key, value, bias, output, logsumexp, state, dropout, causal, scale,
                          /*for_bias=*/false);
  return {ordered_as(std::move(result.query), query), ordered_as(std::move(result.key), key),
          ordered_as(std::move(result.value), value)};
}

// NOLINTEND(performance-unnecessary-value-param)

}  // namespace

void register_attention(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_fused_sdp_choice>(TORCH_FN(choose_kernel));
  registrar.implement<at::_ops::_scaled_dot_product_flash_attention>(TORCH_FN(flash));
  registrar.implement<at::_ops::_scaled_dot_product_flash_attention_backward>(TORCH_FN(flash_backward));
  registrar.implement<at::_ops::_scaled_dot_product_efficient_attention>(TORCH_FN(efficient));
  registrar.implement<at::_ops::_scaled_dot_product_efficient_attention_backward>(TORCH_FN(efficient_backward));
  registrar.implement<at::_ops::_scaled_dot_product_cudnn_attention>(TORCH_FN(cudnn));
  registrar.implement<at::_ops::_scaled_dot_product_cudnn_attention_backward>(TORCH_FN(cudnn_backward));
  at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&choose_kernel);
}

}  // namespace torchdevice::aten
