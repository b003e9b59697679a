// aten/Dropout.cpp: the CPU kernel draws from the default CPU generator; run on CUDA tensors it draws from CUDA's.
// CUDA's fused kernels, which take the probability of keeping, are composed of operators.

#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_dropout_ops.h>
#include <ATen/ops/_masked_scale_ops.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_dropout_native.h>
#include <ATen/ops/native_dropout_ops.h>

#include "aten/Kernels.h"

namespace torchdevice::aten {
namespace {

at::Tensor masked_scale(const at::Tensor& self, const at::Tensor& mask, double scale) {
  TORCH_CHECK(mask.scalar_type() == at::kByte, "mask should be torch.uint8 dtype");
  return self * mask * scale;
}

std::tuple<at::Tensor, at::Tensor> fused_dropout(const at::Tensor& self, double keep,
                                                 std::optional<at::Generator> generator) {
  at::Tensor mask = at::empty_like(self, self.options().dtype(at::kByte)).bernoulli_(keep, std::move(generator));
  return {masked_scale(self, mask, 1 / keep), mask};
}

}  // namespace

void register_dropout(forward::Registrar& registrar) {
  // The CPU kernel is itself composed of operators, each of which is forwarded.
  registrar.implement<at::_ops::native_dropout>(TORCH_FN(at::native::native_dropout_cpu));
  registrar.implement<at::_ops::_fused_dropout>(TORCH_FN(fused_dropout));
  registrar.implement<at::_ops::_masked_scale>(TORCH_FN(masked_scale));
}

}  // namespace torchdevice::aten
