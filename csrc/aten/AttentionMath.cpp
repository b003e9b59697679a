// aten/AttentionMath.cpp: attention composed of operators, and its gradients from the saved logarithm of sums.

#include "aten/AttentionMath.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>

#include <cmath>
#include <limits>

#include "aten/AccumulateType.h"

namespace torchdevice::aten {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Keys or values repeated so that every head of the query has its own.
at::Tensor for_each_head(const at::Tensor& tensor, const at::Tensor& query) {
  const at::Tensor wide = widened(tensor);
  const int64_t group = query.size(1) / tensor.size(1);
  return group == 1 ? wide : wide.repeat_interleave(group, 1);
}

/// The gradient of a head that served a group.
at::Tensor sum_groups(const at::Tensor& grad, const at::Tensor& like) {
  if (grad.size(1) == like.size(1)) {
    return grad.to(like.scalar_type());
  }
  return grad.unflatten(1, {like.size(1), -1}).sum(2).to(like.scalar_type());
}

at::Tensor scores_of(const at::Tensor& query, const at::Tensor& keys, const AttentionRule& rule) {
  at::Tensor scores = at::matmul(widened(query) * rule.scale, keys.transpose(-2, -1));
  if (rule.bias.has_value()) {
    scores = scores + *rule.bias;
  }
  if (rule.last.has_value() || rule.first.has_value()) {
    const auto positions = query.options().dtype(at::kLong);
    const at::Tensor distance = at::arange(keys.size(2), positions) - at::arange(query.size(2), positions).unsqueeze(1);
    if (rule.last.has_value()) {
      scores = scores.masked_fill(distance > *rule.last, -kInfinity);
    }
    if (rule.first.has_value()) {
      scores = scores.masked_fill(distance < *rule.first, -kInfinity);
    }
  }
  return scores;
}

at::Tensor dropped(const at::Tensor& weights, const AttentionRule& rule) {
  return rule.dropout == 0 ? weights : weights * rule.kept * (rule.dropout == 1 ? 0 : 1 / (1 - rule.dropout));
}

}  // namespace

double attention_scale(const at::Tensor& query, std::optional<double> scale) {
  return scale.value_or(1 / std::sqrt(static_cast<double>(query.size(-1))));
}

at::Tensor draw_kept(const at::Tensor& query, const at::Tensor& key, double dropout,
                     std::optional<at::Generator> generator) {
  return at::empty({query.size(0), query.size(1), query.size(2), key.size(2)}, query.options().dtype(at::kBool))
      .bernoulli_(1 - dropout, std::move(generator));
}

std::tuple<at::Tensor, at::Tensor> attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                          const AttentionRule& rule) {
  const at::Tensor scores = scores_of(query, for_each_head(key, query), rule);
  at::Tensor logsumexp = at::logsumexp(scores, -1);
  logsumexp = logsumexp.masked_fill(logsumexp == -kInfinity, kInfinity);
  const at::Tensor weights = (scores - logsumexp.unsqueeze(-1)).exp();
  at::Tensor output = at::matmul(dropped(weights, rule), for_each_head(value, query));
  return {output.to(query.scalar_type()), std::move(logsumexp)};
}

AttentionGradients attend_backward(const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key,
                                   const at::Tensor& value, const at::Tensor& output, const at::Tensor& logsumexp,
                                   const AttentionRule& rule, bool for_bias) {
  const at::Tensor keys = for_each_head(key, query);
  const at::Tensor wide_grad = widened(grad);
  const at::Tensor weights = (scores_of(query, keys, rule) - logsumexp.unsqueeze(-1)).exp();
  const at::Tensor grad_weights = dropped(at::matmul(wide_grad, for_each_head(value, query).transpose(-2, -1)), rule);
  const at::Tensor grad_scores = weights * (grad_weights - (wide_grad * widened(output)).sum(-1, /*keepdim=*/true));
  const at::Tensor grad_value = at::matmul(dropped(weights, rule).transpose(-2, -1), wide_grad);
  const at::Tensor grad_key = at::matmul(grad_scores.transpose(-2, -1), widened(query) * rule.scale);
  return {(at::matmul(grad_scores, keys) * rule.scale).to(query.scalar_type()), sum_groups(grad_key, key),
          sum_groups(grad_value, value),
          for_bias ? at::sum_to(grad_scores, rule.bias->sizes()).to(rule.bias->scalar_type()) : at::Tensor()};
}

}  // namespace torchdevice::aten
