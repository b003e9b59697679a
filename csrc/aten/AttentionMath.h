// aten/AttentionMath.h: attention composed of operators, for what the native flash kernels do not have: dropout,
// windows, grouped heads, gradients of the bias.

#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <optional>

namespace torchdevice::aten {

/// Which keys a query attends to, and how scores are made. Tensors are (batch, heads, sequence, features).
struct AttentionRule {
  double scale = 1;
  /// Added to the scores.
  std::optional<at::Tensor> bias = std::nullopt;
  /// Query i sees no key after i + `last`, and none before i + `first`.
  std::optional<int64_t> last = std::nullopt;
  std::optional<int64_t> first = std::nullopt;
  /// The probability of dropping a weight; `kept` says which weights stay.
  double dropout = 0;
  at::Tensor kept;
};

struct AttentionGradients {
  at::Tensor query;
  at::Tensor key;
  at::Tensor value;
  at::Tensor bias;
};

/// 1 / sqrt(features) if none was given.
double attention_scale(const at::Tensor& query, std::optional<double> scale);

/// Draws from a CUDA generator, by default the device's, which weights stay: a bool for each query, key and head.
at::Tensor draw_kept(const at::Tensor& query, const at::Tensor& key, double dropout,
                     std::optional<at::Generator> generator = std::nullopt);

/// The output, and by query the logarithm of the sum of exponents, in float32 (float64 for float64): infinite for a
/// query that sees no key, whose output is 0. Keys and values may have fewer heads than the query: each serves a group.
std::tuple<at::Tensor, at::Tensor> attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                          const AttentionRule& rule);

AttentionGradients attend_backward(const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key,
                                   const at::Tensor& value, const at::Tensor& output, const at::Tensor& logsumexp,
                                   const AttentionRule& rule, bool for_bias);

}  // namespace torchdevice::aten
