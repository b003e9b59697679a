// aten/NestedProjections.cpp: queries, keys and values out of a nested projection; CUDA pads their sequences to a
// multiple of eight, the CPU to the longest one.

#include <ATen/ops/_transform_bias_rescale_qkv.h>
#include <ATen/ops/_transform_bias_rescale_qkv_ops.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> split_projection(const at::Tensor& projection, const at::Tensor& bias,
                                                                int64_t heads) {
  const std::vector<at::Tensor> sequences = projection.unbind();
  int64_t longest = 0;
  for (const at::Tensor& sequence : sequences) {
    longest = std::max(longest, sequence.size(0));
  }
  const int64_t padded = (longest + 7) / 8 * 8;
  const int64_t features = bias.size(0) / 3 / heads;
  const at::Tensor result =
      at::zeros({3, static_cast<int64_t>(sequences.size()), heads, padded, features}, projection.options());
  int64_t i = 0;
  for (const at::Tensor& sequence : sequences) {
    const auto [query, key, value] = at::_transform_bias_rescale_qkv(sequence.unsqueeze(0), bias, heads);
    result.select(1, i++).narrow(2, 0, sequence.size(0)).copy_(at::stack({query[0], key[0], value[0]}));
  }
  return {result[0], result[1], result[2]};
}

}  // namespace

void register_nested_projections(forward::Registrar& registrar) {
  using Op = at::_ops::_transform_bias_rescale_qkv;
  registrar.add({Op::name, Op::overload_name}, c10::DispatchKey::NestedTensorCUDA,
                c10::KernelFunction::makeFromUnboxedFunction(TORCH_FN(split_projection)));
}

}  // namespace torchdevice::aten
