// aten/SyncBatchNorm.cpp: the parts that nn.SyncBatchNorm computes batch statistics of several processes with, composed
// of operators; the formulas are those of torch's native/cuda/Normalization.cuh.

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm_backward_elemt_ops.h>
#include <ATen/ops/batch_norm_backward_reduce_ops.h>
#include <ATen/ops/batch_norm_elemt_ops.h>
#include <ATen/ops/batch_norm_gather_stats_ops.h>
#include <ATen/ops/batch_norm_gather_stats_with_counts_ops.h>
#include <ATen/ops/batch_norm_stats_ops.h>
#include <ATen/ops/full.h>
#include <ATen/ops/var_mean.h>

#include "aten/AccumulateType.h"
#include "aten/OptionalTensor.h"
#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

/// All dimensions but the channels'.
std::vector<int64_t> reduced_dims(const at::Tensor& input) {
  std::vector<int64_t> dims{0};
  for (int64_t i = 2; i < input.dim(); ++i) {
    dims.push_back(i);
  }
  return dims;
}

/// A value per channel, shaped so that it broadcasts against `input`.
at::Tensor by_channel(const at::Tensor& values, const at::Tensor& input) {
  std::vector<int64_t> sizes(input.dim(), 1);
  sizes[1] = -1;
  return values.to(wide(input)).view(sizes);
}

std::tuple<at::Tensor, at::Tensor> stats(const at::Tensor& input, double epsilon) {
  auto [variance, mean] = at::var_mean(widened(input), reduced_dims(input), /*unbiased=*/false);
  return {std::move(mean), (variance + epsilon).rsqrt()};
}

at::Tensor elemt(const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                 const at::Tensor& mean, const at::Tensor& invstd, double /*epsilon*/) {
  at::Tensor result = (widened(input) - by_channel(mean, input)) * by_channel(invstd, input);
  if (given(weight)) {
    result = result * by_channel(*weight, input);
  }
  if (given(bias)) {
    result = result + by_channel(*bias, input);
  }
  return result.to(input.scalar_type());
}

at::Tensor& elemt_out(const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                      const at::Tensor& mean, const at::Tensor& invstd, double epsilon, at::Tensor& out) {
  return out.copy_(elemt(input, weight, bias, mean, invstd, epsilon));
}

/// The running value moves towards that of this batch.
void update_running(const OptionalTensor& running, const at::Tensor& current, double momentum) {
  if (given(running)) {
    running->copy_((1 - momentum) * widened(*running) + momentum * current);
  }
}

std::tuple<at::Tensor, at::Tensor> gather_stats_with_counts(const at::Tensor& /*input*/, const at::Tensor& means,
                                                            const at::Tensor& invstds,
                                                            const OptionalTensor& running_mean,
                                                            const OptionalTensor& running_var, double momentum,
                                                            double epsilon, const at::Tensor& counts) {
  const at::Tensor wide_means = widened(means);
  const at::Tensor n = counts.to(wide_means.scalar_type()).view({-1, 1});
  const at::Tensor total = n.sum();
  at::Tensor mean = (wide_means * n).sum(0) / total;
  // A process's sum of squared deviations from the mean of all.
  const at::Tensor deviations = widened(invstds).pow(-2) - epsilon + (wide_means - mean).square();
  const at::Tensor squares = (deviations * n).sum(0);
  update_running(running_mean, mean, momentum);
  update_running(running_var, squares / (total - 1), momentum);
  return {std::move(mean), (squares / total + epsilon).rsqrt()};
}

std::tuple<at::Tensor, at::Tensor> gather_stats(const at::Tensor& input, const at::Tensor& means,
                                                const at::Tensor& invstds, const OptionalTensor& running_mean,
                                                const OptionalTensor& running_var, double momentum, double epsilon,
                                                int64_t count) {
  const at::Tensor counts = at::full({means.size(0)}, count, means.options().dtype(wide(means)));
  return gather_stats_with_counts(input, means, invstds, running_mean, running_var, momentum, epsilon, counts);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward_reduce(
    const at::Tensor& grad, const at::Tensor& input, const at::Tensor& mean, const at::Tensor& invstd,
    const OptionalTensor& weight, bool for_input, bool for_weight, bool for_bias) {
  const auto dims = reduced_dims(input);
  const at::Tensor wide_grad = widened(grad);
  const at::Tensor sum = wide_grad.sum(dims);
  const at::Tensor weighted_sum = (wide_grad * (widened(input) - by_channel(mean, input))).sum(dims);
  const at::ScalarType parameter = given(weight) ? weight->scalar_type() : sum.scalar_type();
  return {for_input ? sum.to(mean.scalar_type()) : at::Tensor(),
          for_input ? weighted_sum.to(mean.scalar_type()) : at::Tensor(),
          for_weight ? (weighted_sum * invstd).to(parameter) : at::Tensor(),
          for_bias ? sum.to(parameter, /*non_blocking=*/false, /*copy=*/for_input) : at::Tensor()};
}

at::Tensor backward_elemt(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& mean,
                          const at::Tensor& invstd, const OptionalTensor& weight, const at::Tensor& sum,
                          const at::Tensor& weighted_sum, const at::Tensor& count) {
  const at::Tensor total = count.sum().to(wide(input));
  const at::Tensor scale = by_channel(invstd, input);
  const at::Tensor mean_grad = by_channel(sum, input) / total;
  const at::Tensor slope = by_channel(weighted_sum, input) / total * scale.square();
  at::Tensor result = (widened(grad) - mean_grad - (widened(input) - by_channel(mean, input)) * slope) * scale;
  if (given(weight)) {
    result = result * by_channel(*weight, input);
  }
  return result.to(input.scalar_type());
}

}  // namespace

void register_sync_batch_norm(forward::Registrar& registrar) {
  registrar.implement<at::_ops::batch_norm_stats>(TORCH_FN(stats));
  registrar.implement<at::_ops::batch_norm_elemt>(TORCH_FN(elemt));
  registrar.implement<at::_ops::batch_norm_elemt_out>(TORCH_FN(elemt_out));
  registrar.implement<at::_ops::batch_norm_gather_stats>(TORCH_FN(gather_stats));
  registrar.implement<at::_ops::batch_norm_gather_stats_with_counts>(TORCH_FN(gather_stats_with_counts));
  registrar.implement<at::_ops::batch_norm_backward_reduce>(TORCH_FN(backward_reduce));
  registrar.implement<at::_ops::batch_norm_backward_elemt>(TORCH_FN(backward_elemt));
}

}  // namespace torchdevice::aten
