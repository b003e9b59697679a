// aten/ComposedAttention.cpp: torch.nn's fast paths through attention, for backends that lack them: torch's own
// kernels, which only call other operators, and the two of these that are nobody else's.

#include <ATen/TensorOperators.h>
#include <ATen/ops/_addmm_activation_ops.h>
#include <ATen/ops/_masked_softmax_backward_ops.h>
#include <ATen/ops/_masked_softmax_ops.h>
#include <ATen/ops/_native_multi_head_attention_native.h>
#include <ATen/ops/_native_multi_head_attention_ops.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/_transform_bias_rescale_qkv_ops.h>
#include <ATen/ops/_transformer_encoder_layer_fwd_native.h>
#include <ATen/ops/_transformer_encoder_layer_fwd_ops.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>

#include <cmath>
#include <limits>

#include "forward/fallback/Composed.h"

namespace torchdevice::aten {
namespace {

/// Query, key and value with the heads before the positions; the query times 1 / sqrt(features).
std::tuple<at::Tensor, at::Tensor, at::Tensor> transform_bias_rescale_qkv(const at::Tensor& qkv,
                                                                          const at::Tensor& qkv_bias,
                                                                          int64_t num_heads) {
  const int64_t features = qkv.size(2) / 3;
  TORCH_CHECK(features % num_heads == 0);
  TORCH_CHECK(qkv.size(2) % 3 == 0);
  const auto parts = (qkv + qkv_bias)
                         .view({qkv.size(0), qkv.size(1), 3, num_heads, features / num_heads})
                         .permute({2, 0, 3, 1, 4})
                         .contiguous()
                         .unbind(0);
  const int64_t head_features = features / num_heads;
  return {parts[0] * (1 / std::sqrt(static_cast<double>(head_features))), parts[1], parts[2]};
}

/// What must not be seen, in the scores' shape; its kinds and the errors are those of torch's kernels.
at::Tensor mask_for(const at::Tensor& scores, const at::Tensor& mask, std::optional<int64_t> mask_type) {
  TORCH_CHECK(mask.scalar_type() == at::kBool, "Mask should be a boolean tensor");
  if (mask.dim() != 2 || scores.dim() != 4) {
    mask_type = 2;
  }
  if (mask_type == 2) {
    TORCH_CHECK(scores.sizes() == mask.sizes(), "For mask_type == 2 mask shape should match input shape");
    return mask;
  }
  if (mask_type == 1) {
    TORCH_CHECK(scores.size(0) == mask.size(0) && scores.size(2) == mask.size(1),
                "For mask_type == 1 mask shape should be (B, L)");
    return mask.view({mask.size(0), 1, 1, mask.size(1)});
  }
  TORCH_CHECK(mask_type == 0, "Mask Type should be 0 (src_mask), 1 (src_key_padding_mask), or 2 (default_mask)");
  TORCH_CHECK(scores.size(2) == mask.size(0) && scores.size(2) == mask.size(1),
              "For mask_type == 0 mask shape should be (L, L)");
  return mask;
}

at::Tensor masked_softmax(const at::Tensor& scores, const at::Tensor& mask, std::optional<int64_t> dim,
                          std::optional<int64_t> mask_type) {
  const at::Tensor hidden = mask_for(scores, mask, mask_type);
  return at::_softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()),
                      dim.value_or(scores.dim() - 1), /*half_to_float=*/false);
}

at::Tensor masked_softmax_backward(const at::Tensor& grad, const at::Tensor& output, const at::Tensor& mask,
                                   std::optional<int64_t> dim) {
  TORCH_CHECK(grad.sizes() == mask.sizes(), "Mask shape should match grad shape");
  TORCH_CHECK(mask.scalar_type() == at::kBool, "Mask should be a boolean tensor");
  const at::Tensor seen_grad = grad.masked_fill(mask, 0);
  return at::_softmax_backward_data(seen_grad, output.masked_fill(mask, 0), dim.value_or(output.dim() - 1),
                                    output.scalar_type());
}

/// The first half of a transformer's feed-forward layer.
at::Tensor addmm_activation(const at::Tensor& self, const at::Tensor& mat1, const at::Tensor& mat2,
                            const at::Scalar& beta, const at::Scalar& alpha, bool use_gelu) {
  const at::Tensor product = at::addmm(self, mat1, mat2, beta, alpha);
  return use_gelu ? at::gelu(product) : at::relu(product);
}

}  // namespace

void register_composed_attention(forward::Registrar& registrar) {
  forward::compose<at::_ops::_transform_bias_rescale_qkv>(registrar, TORCH_FN(transform_bias_rescale_qkv));
  forward::compose<at::_ops::_masked_softmax>(registrar, TORCH_FN(masked_softmax));
  forward::compose<at::_ops::_masked_softmax_backward>(registrar, TORCH_FN(masked_softmax_backward));
  forward::compose<at::_ops::_addmm_activation>(registrar, TORCH_FN(addmm_activation));
  forward::compose<at::_ops::_native_multi_head_attention>(registrar,
                                                           TORCH_FN(at::native::native_multi_head_attention_cpu));
  forward::compose<at::_ops::_transformer_encoder_layer_fwd>(registrar,
                                                             TORCH_FN(at::native::transformer_encoder_layer_forward));
}

}  // namespace torchdevice::aten
