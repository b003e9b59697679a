// aten/Cudnn.cpp: cuDNN's operators for programs that call them by name (torch.cudnn_convolution ...), composed of the
// operators that torch itself uses without cuDNN. MIOpen's raise what they raise in torch with CUDA.

#include <ATen/TensorOperators.h>
#include <ATen/ops/_conv_depthwise2d_ops.h>
#include <ATen/ops/_ctc_loss.h>
#include <ATen/ops/_ctc_loss_backward.h>
#include <ATen/ops/_cudnn_ctc_loss_ops.h>
#include <ATen/ops/affine_grid_generator.h>
#include <ATen/ops/affine_grid_generator_backward.h>
#include <ATen/ops/conv_depthwise3d_ops.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/cudnn_affine_grid_generator_backward_ops.h>
#include <ATen/ops/cudnn_affine_grid_generator_ops.h>
#include <ATen/ops/cudnn_batch_norm_backward_ops.h>
#include <ATen/ops/cudnn_batch_norm_ops.h>
#include <ATen/ops/cudnn_convolution_add_relu_ops.h>
#include <ATen/ops/cudnn_convolution_ops.h>
#include <ATen/ops/cudnn_convolution_relu_ops.h>
#include <ATen/ops/cudnn_convolution_transpose_ops.h>
#include <ATen/ops/cudnn_grid_sampler_backward_ops.h>
#include <ATen/ops/cudnn_grid_sampler_ops.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/grid_sampler_2d.h>
#include <ATen/ops/grid_sampler_2d_backward.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/ones_like.h>

#include "aten/OptionalTensor.h"
#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

// NOLINTBEGIN(performance-unnecessary-value-param): kernels take SymInts by value, as their schemas say; the dispatcher
// does not recognise them behind references.

using Sizes = c10::SymIntArrayRef;

at::Tensor convolved(const at::Tensor& self, const at::Tensor& weight, const OptionalTensor& bias, Sizes stride,
                     Sizes padding, Sizes dilation, const c10::SymInt& groups) {
  return at::convolution_symint(self, weight, bias, stride, padding, dilation, /*transposed=*/false,
                                std::vector<c10::SymInt>(padding.size(), 0), groups);
}

at::Tensor convolution(const at::Tensor& self, const at::Tensor& weight, Sizes padding, Sizes stride, Sizes dilation,
                       c10::SymInt groups, bool /*benchmark*/, bool /*deterministic*/, bool /*allow_tf32*/) {
  return convolved(self, weight, std::nullopt, stride, padding, dilation, groups);
}

at::Tensor& convolution_out(const at::Tensor& self, const at::Tensor& weight, Sizes padding, Sizes stride,
                            Sizes dilation, c10::SymInt groups, bool /*benchmark*/, bool /*deterministic*/,
                            bool /*allow_tf32*/, at::Tensor& out) {
  return out.copy_(convolved(self, weight, std::nullopt, stride, padding, dilation, groups));
}

at::Tensor convolution_transpose(const at::Tensor& self, const at::Tensor& weight, Sizes padding, Sizes output_padding,
                                 Sizes stride, Sizes dilation, c10::SymInt groups, bool /*benchmark*/,
                                 bool /*deterministic*/, bool /*allow_tf32*/) {
  return at::convolution_symint(self, weight, std::nullopt, stride, padding, dilation, /*transposed=*/true,
                                output_padding, std::move(groups));
}

at::Tensor convolution_relu(const at::Tensor& self, const at::Tensor& weight, const OptionalTensor& bias, Sizes stride,
                            Sizes padding, Sizes dilation, c10::SymInt groups) {
  return convolved(self, weight, bias, stride, padding, dilation, groups).relu();
}

at::Tensor convolution_add_relu(const at::Tensor& self, const at::Tensor& weight, const at::Tensor& z,
                                const std::optional<at::Scalar>& alpha, const OptionalTensor& bias, Sizes stride,
                                Sizes padding, Sizes dilation, c10::SymInt groups) {
  return convolved(self, weight, bias, stride, padding, dilation, groups).add(z, alpha.value_or(1)).relu();
}

at::Tensor depthwise(const at::Tensor& self, const at::Tensor& weight, Sizes /*kernel_size*/,
                     const OptionalTensor& bias, Sizes stride, Sizes padding, Sizes dilation) {
  return convolved(self, weight, bias, stride, padding, dilation, self.sym_size(1));
}

at::Tensor& depthwise_out(const at::Tensor& self, const at::Tensor& weight, Sizes kernel_size,
                          const OptionalTensor& bias, Sizes stride, Sizes padding, Sizes dilation, at::Tensor& out) {
  out.resize_(0);
  const at::Tensor result = depthwise(self, weight, kernel_size, bias, stride, padding, dilation);
  out.resize_(result.sizes());
  return out.copy_(result);
}

/// (output, mean, inverse deviation, cuDNN's reserve, of which nothing is needed here).
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> batch_norm(const at::Tensor& input, const at::Tensor& weight,
                                                                      const OptionalTensor& bias,
                                                                      const OptionalTensor& running_mean,
                                                                      const OptionalTensor& running_var, bool training,
                                                                      double momentum, double epsilon) {
  auto [output, mean, invstd] =
      at::native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, epsilon);
  return {std::move(output), std::move(mean), std::move(invstd), at::empty({0}, input.options().dtype(at::kByte))};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_backward(
    const at::Tensor& input, const at::Tensor& grad, const at::Tensor& weight, const OptionalTensor& running_mean,
    const OptionalTensor& running_var, const OptionalTensor& save_mean, const OptionalTensor& save_invstd,
    double epsilon, const at::Tensor& /*reserve*/) {
  return at::native_batch_norm_backward(grad, input, weight, running_mean, running_var, save_mean, save_invstd,
                                        /*train=*/true, epsilon, {true, true, true});
}

// cuDNN's sampler knows bilinear interpolation over zeros with aligned corners alone.
constexpr int64_t kBilinear = 0;
constexpr int64_t kZeros = 0;
constexpr bool kAlignCorners = true;

at::Tensor grid_sampler(const at::Tensor& self, const at::Tensor& grid) {
  return at::grid_sampler_2d(self, grid, kBilinear, kZeros, kAlignCorners);
}

std::tuple<at::Tensor, at::Tensor> grid_sampler_backward(const at::Tensor& self, const at::Tensor& grid,
                                                         const at::Tensor& grad) {
  return at::grid_sampler_2d_backward(grad, self, grid, kBilinear, kZeros, kAlignCorners, {true, true});
}

at::Tensor affine_grid(const at::Tensor& theta, int64_t n, int64_t c, int64_t h, int64_t w) {
  return at::affine_grid_generator(theta, {n, c, h, w}, kAlignCorners);
}

at::Tensor affine_grid_backward(const at::Tensor& grad, int64_t n, int64_t c, int64_t h, int64_t w) {
  return at::affine_grid_generator_backward(grad, {n, c, h, w}, kAlignCorners);
}

/// (loss, its gradient by log_probs): cuDNN computes both at once, from targets on the host.
template <class Lengths>
std::tuple<at::Tensor, at::Tensor> ctc_loss(const at::Tensor& log_probs, const at::Tensor& targets,
                                            const Lengths& input_lengths, const Lengths& target_lengths, int64_t blank,
                                            bool /*deterministic*/, bool zero_infinity) {
  const at::Tensor labels = targets.to(log_probs.device());
  const auto [loss, log_alpha] = at::_ctc_loss(log_probs, labels, input_lengths, target_lengths, blank, zero_infinity);
  at::Tensor gradient = at::_ctc_loss_backward(at::ones_like(loss), log_probs, labels, input_lengths, target_lengths,
                                               loss, log_alpha, blank, zero_infinity);
  return {loss, std::move(gradient)};
}

std::tuple<at::Tensor, at::Tensor> ctc_loss_of_lists(const at::Tensor& log_probs, const at::Tensor& targets,
                                                     at::IntArrayRef input_lengths, at::IntArrayRef target_lengths,
                                                     int64_t blank, bool deterministic, bool zero_infinity) {
  return ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, deterministic, zero_infinity);
}

std::tuple<at::Tensor, at::Tensor> ctc_loss_of_tensors(const at::Tensor& log_probs, const at::Tensor& targets,
                                                       const at::Tensor& input_lengths,
                                                       const at::Tensor& target_lengths, int64_t blank,
                                                       bool deterministic, bool zero_infinity) {
  return ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, deterministic, zero_infinity);
}

void without_miopen(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack*) {
  const std::string& name = op.operator_name().name;
  TORCH_CHECK(false, name.substr(name.find("::") + 2), ": ATen not compiled with MIOpen support");
}

// NOLINTEND(performance-unnecessary-value-param)

}  // namespace

void register_cudnn(forward::Registrar& registrar) {
  registrar.implement<at::_ops::cudnn_convolution>(TORCH_FN(convolution));
  registrar.implement<at::_ops::cudnn_convolution_out>(TORCH_FN(convolution_out));
  registrar.implement<at::_ops::cudnn_convolution_transpose>(TORCH_FN(convolution_transpose));
  registrar.implement<at::_ops::cudnn_convolution_relu>(TORCH_FN(convolution_relu));
  registrar.implement<at::_ops::cudnn_convolution_add_relu>(TORCH_FN(convolution_add_relu));
  registrar.implement<at::_ops::_conv_depthwise2d>(TORCH_FN(depthwise));
  registrar.implement<at::_ops::_conv_depthwise2d_out>(TORCH_FN(depthwise_out));
  registrar.implement<at::_ops::conv_depthwise3d>(TORCH_FN(depthwise));
  registrar.implement<at::_ops::cudnn_batch_norm>(TORCH_FN(batch_norm));
  registrar.implement<at::_ops::cudnn_batch_norm_backward>(TORCH_FN(batch_norm_backward));
  registrar.implement<at::_ops::cudnn_grid_sampler>(TORCH_FN(grid_sampler));
  registrar.implement<at::_ops::cudnn_grid_sampler_backward>(TORCH_FN(grid_sampler_backward));
  registrar.implement<at::_ops::cudnn_affine_grid_generator>(TORCH_FN(affine_grid));
  registrar.implement<at::_ops::cudnn_affine_grid_generator_backward>(TORCH_FN(affine_grid_backward));
  registrar.implement<at::_ops::_cudnn_ctc_loss>(TORCH_FN(ctc_loss_of_lists));
  registrar.implement<at::_ops::_cudnn_ctc_loss_Tensor>(TORCH_FN(ctc_loss_of_tensors));
  for (const char* name : {"miopen_batch_norm", "miopen_batch_norm_backward", "miopen_convolution",
                           "miopen_convolution_transpose", "miopen_depthwise_convolution", "miopen_convolution_relu",
                           "miopen_convolution_add_relu", "miopen_rnn", "miopen_rnn_backward"}) {
    registrar.add({std::string("aten::") + name, ""}, c10::DispatchKey::CUDA,
                  c10::KernelFunction::makeFromBoxedFunction<&without_miopen>());
  }
}

}  // namespace torchdevice::aten
