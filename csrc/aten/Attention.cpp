// aten/Attention.cpp: scaled_dot_product_attention picks its kernel by device type; CUDA's choices run the native
// flash kernel.

#include <ATen/native/transformers/attention.h>
#include <ATen/native/transformers/sdp_utils_cpp.h>
#include <ATen/ops/_fused_sdp_choice_native.h>
#include <ATen/ops/_fused_sdp_choice_ops.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward_ops.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_ops.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward_ops.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_ops.h>
#include <ATen/ops/empty.h>

#include "aten/Kernels.h"

namespace torchdevice::aten {
namespace {

/// The native backend's choice in CUDA's terms: its flash kernel also takes a mask, which on CUDA is the
/// memory-efficient kernel's business. The choice reads shapes, dtypes and switches only, and is asked for on tensors
/// that hold no data too: those of torch.compile and of vmap.
int64_t choose_kernel(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                      const std::optional<at::Tensor>& mask, double dropout, bool causal, std::optional<double> scale,
                      bool grouped_query) {
  constexpr auto kMath = static_cast<int64_t>(sdp::SDPBackend::math);
  constexpr auto kFlash = static_cast<int64_t>(sdp::SDPBackend::flash_attention);
  // An alias does not say that its source requires grad, and the native flash kernel gives masks none.
  if (mask.has_value() && mask->requires_grad()) {
    return kMath;
  }
  const int64_t choice =
      at::native::_fused_sdp_choice_cpp(query, key, value, mask, dropout, causal, scale, grouped_query);
  return choice == kFlash && mask.has_value() ? static_cast<int64_t>(sdp::SDPBackend::efficient_attention) : choice;
}

/// CUDA's kernels return the state of their dropout; native flash kernels have no dropout, so it stays unset.
at::Tensor no_philox_state(const at::Tensor& like) { return at::empty({}, like.options().dtype(at::kLong)); }

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt, at::Tensor, at::Tensor, at::Tensor>
flash(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double dropout, bool causal,
      bool /*return_debug_mask*/, std::optional<double> scale) {
  auto [output, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, dropout, causal,
                                                                             /*attn_mask=*/std::nullopt, scale);
  return {std::move(output),      std::move(logsumexp),   at::Tensor(),
          at::Tensor(),           query.sym_size(2),      key.sym_size(2),
          no_philox_state(query), no_philox_state(query), at::empty({0}, query.options())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> flash_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& /*cum_seq_q*/,
    const at::Tensor& /*cum_seq_k*/, const c10::SymInt& /*max_q*/, const c10::SymInt& /*max_k*/, double dropout,
    bool causal, const at::Tensor& /*philox_seed*/, const at::Tensor& /*philox_offset*/, std::optional<double> scale) {
  return at::_scaled_dot_product_flash_attention_for_cpu_backward(grad, query, key, value, output, logsumexp, dropout,
                                                                  causal, /*attn_mask=*/std::nullopt, scale);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> efficient(const at::Tensor& query, const at::Tensor& key,
                                                                     const at::Tensor& value,
                                                                     const std::optional<at::Tensor>& bias,
                                                                     bool /*compute_log_sumexp*/, double dropout,
                                                                     bool causal, std::optional<double> scale) {
  auto [output, logsumexp] =
      at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, dropout, causal, bias, scale);
  return {std::move(output), std::move(logsumexp), no_philox_state(query), no_philox_state(query)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> efficient_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& bias, const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& /*philox_seed*/,
    const at::Tensor& /*philox_offset*/, double dropout, std::array<bool, 4> /*grad_input_mask*/, bool causal,
    std::optional<double> scale) {
  const auto mask = bias.defined() ? std::optional(bias) : std::nullopt;
  auto [grad_query, grad_key, grad_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      grad, query, key, value, output, logsumexp, dropout, causal, mask, scale);
  return {std::move(grad_query), std::move(grad_key), std::move(grad_value), at::Tensor()};
}

}  // namespace

void register_attention(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_fused_sdp_choice>(TORCH_FN(choose_kernel));
  registrar.implement<at::_ops::_scaled_dot_product_flash_attention>(TORCH_FN(flash));
  registrar.implement<at::_ops::_scaled_dot_product_flash_attention_backward>(TORCH_FN(flash_backward));
  registrar.implement<at::_ops::_scaled_dot_product_efficient_attention>(TORCH_FN(efficient));
  registrar.implement<at::_ops::_scaled_dot_product_efficient_attention_backward>(TORCH_FN(efficient_backward));
  at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&choose_kernel);
}

}  // namespace torchdevice::aten
