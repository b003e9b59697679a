// aten/Attention.cpp: scaled_dot_product_attention picks its kernel by device type; CUDA's choices run the CPU's
// flash kernel where that is the native backend and can, and composed operators elsewhere.

#include <ATen/ExpandUtils.h>
#include <ATen/OpMathType.h>
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
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>

#include <limits>
#include <utility>

#include "aten/AttentionMath.h"
#include "aten/SdpBackends.h"
#include "forward/Masquerade.h"
#include "forward/Registrar.h"
#include "native/Backend.h"
#include "runtime/Generator.h"

namespace torchdevice::aten {
namespace {

// NOLINTBEGIN(performance-unnecessary-value-param): kernels take SymInts by value, as their schemas say; the dispatcher
// does not recognise them behind references.

int64_t choose_kernel(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                      const std::optional<at::Tensor>& mask, double dropout, bool causal,
                      std::optional<double> /*scale*/, bool grouped_query) {
  return static_cast<int64_t>(choose_attention({query, key, value, mask, dropout, causal, grouped_query}));
}

/// The CPU's flash kernels have neither dropout nor groups of heads, and one size of features. Other backends have none
/// that returns log-sums, and would have to wait for the CPU.
bool native_takes(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double dropout) {
  return !forward::has_fallback() && dropout == 0 && query.size(1) == key.size(1) && query.size(1) == value.size(1) &&
         query.size(3) == value.size(3);
}

AttentionRule rule_of(const at::Tensor& query, const std::optional<at::Tensor>& bias, bool causal,
                      std::optional<double> scale, double dropout, const at::Tensor& kept) {
  AttentionRule rule;
  rule.scale = attention_scale(query, scale);
  rule.bias = bias;
  if (causal) {
    rule.last = 0;
  }
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

/// The efficient kernel's rows of log-sums are whole blocks of queries; what pads them is never read.
at::Tensor in_blocks(const at::Tensor& logsumexp, bool wanted) {
  constexpr int64_t kBlock = 32;
  const int64_t queries = logsumexp.size(2);
  const int64_t padded = wanted ? (queries + kBlock - 1) / kBlock * kBlock : 0;
  if (padded == queries) {
    return logsumexp.contiguous();
  }
  at::Tensor blocks = at::full({logsumexp.size(0), logsumexp.size(1), padded}, std::numeric_limits<double>::infinity(),
                               logsumexp.options());
  if (wanted) {
    blocks.narrow(2, 0, queries).copy_(logsumexp);
  }
  return blocks;
}

/// Where CUDA's generator stood when dropout drew its numbers. That is what is kept for the backward pass, as by CUDA's
/// kernels: two numbers, from which the same weights are dropped again.
struct RandomState {
  uint64_t seed = 0;
  uint64_t offset = 0;
  bool drawn = false;
};

RandomState advance_generator(const at::Tensor& query, const at::Tensor& key) {
  auto* generator = at::check_generator<CudaGenerator>(default_cuda_generator(query.get_device()));
  const auto [seed, offset] =
      generator->reserve(static_cast<uint64_t>(query.size(0) * query.size(1) * query.size(2) * key.size(2)));
  return {seed, offset, /*drawn=*/true};
}

at::Tensor kept_weights(const at::Tensor& query, const at::Tensor& key, double dropout, const RandomState& state) {
  at::Generator generator = make_cuda_generator(query.get_device());
  GeneratorState& place = *at::check_generator<CudaGenerator>(generator)->state();
  place.seed = state.seed;
  place.offset = state.offset;
  place.captures = 1;  // that it may draw during a capture; what it draws follows from the device's own generator
  return draw_kept(query, key, dropout, std::move(generator));
}

/// The efficient and cuDNN operators keep seed and offset in a tensor each, the flash operator has one for both.
/// Without dropout nobody reads them.
at::Tensor cell(const RandomState& state, uint64_t RandomState::* word, const at::Tensor& like) {
  const auto options = like.options().dtype(at::kLong);
  return state.drawn ? at::full({}, static_cast<int64_t>(state.*word), options) : at::empty({}, options);
}

at::Tensor both_words(const RandomState& state, const at::Tensor& like) {
  return state.drawn ? at::stack({cell(state, &RandomState::seed, like), cell(state, &RandomState::offset, like)})
                           .view(at::kUInt64)
                     : at::empty({2}, like.options().dtype(at::kUInt64));
}

uint64_t word(const at::Tensor& cell) {
  native_backend().settle();
  const auto* words = static_cast<const uint64_t*>(native_backend().host_address(cell.storage().mutable_data()));
  return words[cell.storage_offset()];
}

RandomState saved_state(double dropout, const at::Tensor& seed, const at::Tensor& offset) {
  if (dropout == 0) {
    return {};
  }
  return {word(seed), word(offset), /*drawn=*/true};
}

struct Attended {
  at::Tensor output;
  at::Tensor logsumexp;
  RandomState state;
};

Attended attended(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                  const std::optional<at::Tensor>& bias, double dropout, bool causal, std::optional<double> scale) {
  if (native_takes(query, key, value, dropout)) {
    auto [output, logsumexp] =
        at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, dropout, causal, bias, scale);
    return {std::move(output), std::move(logsumexp), {}};
  }
  RandomState state;
  at::Tensor kept;
  if (dropout != 0) {
    state = advance_generator(query, key);
    kept = kept_weights(query, key, dropout, state);
  }
  auto [output, logsumexp] = attend(query, key, value, rule_of(query, bias, causal, scale, dropout, kept));
  return {std::move(output), std::move(logsumexp), state};
}

AttentionGradients gradients(const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key,
                             const at::Tensor& value, const at::Tensor& bias, const at::Tensor& output,
                             const at::Tensor& logsumexp, const RandomState& state, double dropout, bool causal,
                             std::optional<double> scale, bool for_bias) {
  const auto mask = bias.defined() ? std::optional(bias) : std::nullopt;
  if (for_bias || !native_takes(query, key, value, dropout)) {
    const at::Tensor kept = dropout == 0 ? at::Tensor() : kept_weights(query, key, dropout, state);
    return attend_backward(grad, query, key, value, output, logsumexp,
                           rule_of(query, mask, causal, scale, dropout, kept), for_bias);
  }
  // The native kernel adds gradients of keys and values up in the inputs' own type, one block of queries after another.
  // CUDA's kernels add them up in float32.
  const at::ScalarType type = query.scalar_type();
  const auto wide = [&](const at::Tensor& tensor) { return tensor.to(at::toOpMathType(type)); };
  const bool adds_mask = mask.has_value() && mask->scalar_type() != at::kBool;
  auto [grad_query, grad_key, grad_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      wide(grad), wide(query), wide(key), wide(value), wide(output), logsumexp, dropout, causal,
      adds_mask ? std::optional(wide(*mask)) : mask, scale);
  return {grad_query.to(type), grad_key.to(type), grad_value.to(type), at::Tensor()};
}

/// What the flash and cuDNN operators return; sequences are as long as the tensors say.
using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt, at::Tensor,
                           at::Tensor, at::Tensor>;

Results results_of(at::Tensor output, at::Tensor logsumexp, const at::Tensor& query, const at::Tensor& key,
                   at::Tensor state, at::Tensor offset, at::Tensor debug_mask) {
  return {ordered_as(std::move(output), query),
          std::move(logsumexp),
          at::Tensor(),
          at::Tensor(),
          query.sym_size(2),
          key.sym_size(2),
          std::move(state),
          std::move(offset),
          std::move(debug_mask)};
}

Results flash(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double dropout, bool causal,
              bool /*return_debug_mask*/, std::optional<double> scale) {
  auto [output, logsumexp, state] = attended(query, key, value, std::nullopt, dropout, causal, scale);
  return results_of(std::move(output), logsumexp.contiguous(), query, key, both_words(state, query),
                    at::empty({}, query.options().dtype(at::kUInt64)), at::empty({0}, query.options()));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> flash_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& /*cum_seq_q*/,
    const at::Tensor& /*cum_seq_k*/, c10::SymInt /*max_q*/, c10::SymInt /*max_k*/, double dropout, bool causal,
    const at::Tensor& seed_and_offset, const at::Tensor& /*unused*/, std::optional<double> scale) {
  auto result = gradients(grad, query, key, value, /*bias=*/{}, output, logsumexp,
                          saved_state(dropout, seed_and_offset.select(0, 0), seed_and_offset.select(0, 1)), dropout,
                          causal, scale,
                          /*for_bias=*/false);
  return {ordered_as(std::move(result.query), query), ordered_as(std::move(result.key), key),
          ordered_as(std::move(result.value), value)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> efficient(const at::Tensor& query, const at::Tensor& key,
                                                                     const at::Tensor& value,
                                                                     const std::optional<at::Tensor>& bias,
                                                                     bool compute_log_sumexp, double dropout,
                                                                     bool causal, std::optional<double> scale) {
  auto [output, logsumexp, state] = attended(query, key, value, bias, dropout, causal, scale);
  return {by_positions(output), in_blocks(logsumexp, compute_log_sumexp), cell(state, &RandomState::seed, query),
          cell(state, &RandomState::offset, query)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> efficient_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& bias, const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& seed,
    const at::Tensor& offset, double dropout, std::array<bool, 4> wanted, bool causal, std::optional<double> scale) {
  auto result = gradients(grad, query, key, value, bias, output, logsumexp.narrow(2, 0, query.size(2)),
                          saved_state(dropout, seed, offset), dropout, causal, scale, wanted[3] && bias.defined());
  return {by_positions(result.query), by_positions(result.key), by_positions(result.value), std::move(result.bias)};
}

Results cudnn(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
              const std::optional<at::Tensor>& bias, bool /*compute_log_sumexp*/, double dropout, bool causal,
              bool /*return_debug_mask*/, std::optional<double> scale) {
  auto [output, logsumexp, state] = attended(query, key, value, bias, dropout, causal, scale);
  return results_of(std::move(output), logsumexp.contiguous().unsqueeze(-1), query, key,
                    cell(state, &RandomState::seed, query), cell(state, &RandomState::offset, query), at::Tensor());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> cudnn_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& seed, const at::Tensor& offset,
    const at::Tensor& bias, const at::Tensor& /*cum_seq_q*/, const at::Tensor& /*cum_seq_k*/, c10::SymInt /*max_q*/,
    c10::SymInt /*max_k*/, double dropout, bool causal, std::optional<double> scale) {
  auto result = gradients(grad, query, key, value, bias, output, logsumexp.squeeze(-1),
                          saved_state(dropout, seed, offset), dropout, causal, scale,
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
