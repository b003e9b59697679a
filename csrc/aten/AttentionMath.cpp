// aten/AttentionMath.cpp: attention composed of operators, and its gradients from the saved logarithm of sums.

#include "aten/AttentionMath.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "aten/AccumulateType.h"

namespace torchdevice::aten {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Of queries by keys, in all heads; 256 MiB of float32. There are four or five such tensors at a time.
constexpr int64_t kMostScores = int64_t{64} * 1024 * 1024;

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

/// Queries that are attended for at a time.
int64_t queries_at_once(const at::Tensor& query, const at::Tensor& key) {
  const int64_t scores_of_one = query.size(0) * query.size(1) * key.size(2);
  return std::max<int64_t>(1, kMostScores / std::max<int64_t>(1, scores_of_one));
}

/// The rule for `count` queries from `start` on.
AttentionRule rule_for(const AttentionRule& rule, int64_t start, int64_t count) {
  AttentionRule part = rule;
  if (rule.bias.has_value() && rule.bias->dim() > 1 && rule.bias->size(-2) > 1) {
    part.bias = rule.bias->narrow(-2, start, count);
  }
  if (rule.last.has_value()) {
    part.last = *rule.last + start;
  }
  if (rule.first.has_value()) {
    part.first = *rule.first + start;
  }
  if (rule.kept.defined()) {
    part.kept = rule.kept.narrow(2, start, count);
  }
  return part;
}

std::tuple<at::Tensor, at::Tensor> attend_at_once(const at::Tensor& query, const at::Tensor& keys,
                                                  const at::Tensor& values, const AttentionRule& rule) {
  const at::Tensor scores = scores_of(query, keys, rule);
  at::Tensor logsumexp = at::logsumexp(scores, -1);
  logsumexp = logsumexp.masked_fill(logsumexp == -kInfinity, kInfinity);
  const at::Tensor weights = (scores - logsumexp.unsqueeze(-1)).exp();
  at::Tensor output = at::matmul(dropped(weights, rule), values);
  return {output.to(query.scalar_type()), std::move(logsumexp)};
}

/// Of what some queries have seen; still in the type of sums.
AttentionGradients gradients_at_once(const at::Tensor& grad, const at::Tensor& query, const at::Tensor& keys,
                                     const at::Tensor& values, const at::Tensor& output, const at::Tensor& logsumexp,
                                     const AttentionRule& rule, bool for_bias) {
  const at::Tensor wide_grad = widened(grad);
  const at::Tensor weights = (scores_of(query, keys, rule) - logsumexp.unsqueeze(-1)).exp();
  const at::Tensor grad_weights = dropped(at::matmul(wide_grad, values.transpose(-2, -1)), rule);
  const at::Tensor grad_scores = weights * (grad_weights - (wide_grad * widened(output)).sum(-1, /*keepdim=*/true));
  return {at::matmul(grad_scores, keys) * rule.scale,
          at::matmul(grad_scores.transpose(-2, -1), widened(query) * rule.scale),
          at::matmul(dropped(weights, rule).transpose(-2, -1), wide_grad),
          for_bias ? at::sum_to(grad_scores, rule.bias->sizes()).to(rule.bias->scalar_type()) : at::Tensor()};
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
  const at::Tensor keys = for_each_head(key, query);
  const at::Tensor values = for_each_head(value, query);
  const int64_t queries = query.size(2);
  const int64_t step = queries_at_once(query, key);
  if (queries <= step) {
    return attend_at_once(query, keys, values, rule);
  }
  std::vector<at::Tensor> outputs;
  std::vector<at::Tensor> logsumexps;
  for (int64_t start = 0; start < queries; start += step) {
    const int64_t count = std::min(step, queries - start);
    auto [output, logsumexp] =
        attend_at_once(query.narrow(2, start, count), keys, values, rule_for(rule, start, count));
    outputs.push_back(std::move(output));
    logsumexps.push_back(std::move(logsumexp));
  }
  return {at::cat(outputs, 2), at::cat(logsumexps, 2)};
}

AttentionGradients attend_backward(const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key,
                                   const at::Tensor& value, const at::Tensor& output, const at::Tensor& logsumexp,
                                   const AttentionRule& rule, bool for_bias) {
  const at::Tensor keys = for_each_head(key, query);
  const at::Tensor values = for_each_head(value, query);
  const int64_t queries = query.size(2);
  // The bias's gradient is as large as all scores.
  const int64_t step = for_bias ? queries : queries_at_once(query, key);
  AttentionGradients all;
  if (queries <= step) {
    all = gradients_at_once(grad, query, keys, values, output, logsumexp, rule, for_bias);
  } else {
    std::vector<at::Tensor> of_queries;
    for (int64_t start = 0; start < queries; start += step) {
      const int64_t count = std::min(step, queries - start);
      const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(2, start, count); };
      auto gradients = gradients_at_once(part(grad), part(query), keys, values, part(output), part(logsumexp),
                                         rule_for(rule, start, count), /*for_bias=*/false);
      of_queries.push_back(std::move(gradients.query));
      all.key = start == 0 ? std::move(gradients.key) : all.key.add_(gradients.key);
      all.value = start == 0 ? std::move(gradients.value) : all.value.add_(gradients.value);
    }
    all.query = at::cat(of_queries, 2);
  }
  return {all.query.to(query.scalar_type()), sum_groups(all.key, key), sum_groups(all.value, value),
          std::move(all.bias)};
}

}  // namespace torchdevice::aten
