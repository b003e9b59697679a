// aten/ComposedQuantization.cpp: fake quantization, with which networks are trained that will be quantized, for
// backends that lack it.

#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_fake_quantize_per_tensor_affine_cachemask_tensor_qparams_ops.h>
#include <ATen/ops/fake_quantize_per_channel_affine_cachemask_ops.h>
#include <ATen/ops/fake_quantize_per_tensor_affine_cachemask_ops.h>
#include <ATen/ops/where.h>

#include <vector>

#include "forward/fallback/Composed.h"

namespace torchdevice::aten {
namespace {

/// The values that quantized ones stand for, and which are not cut off.
using FakeQuantized = std::tuple<at::Tensor, at::Tensor>;

void check_range(int64_t least, int64_t most) {
  TORCH_CHECK(least <= most, "`quant_min` should be less than or         equal to `quant_max`.");
}

/// `scale` and `zero_point` are numbers or tensors. Zero points that are no integers are added before rounding.
template <class Scale, class ZeroPoint>
FakeQuantized fake_quantized(const at::Tensor& self, const Scale& scale, const ZeroPoint& zero_point, int64_t least,
                             int64_t most, bool rounds_last = false) {
  const at::Tensor scaled = self.to(at::toOpMathType(self.scalar_type())) * (1 / scale);
  const at::Tensor rounded = rounds_last ? (scaled + zero_point).round() : scaled.round() + zero_point;
  at::Tensor mask = (rounded >= least).logical_and_(rounded <= most);
  return {((rounded.clamp(least, most) - zero_point) * scale).to(self.scalar_type()), std::move(mask)};
}

FakeQuantized per_tensor(const at::Tensor& self, double scale, int64_t zero_point, int64_t least, int64_t most) {
  check_range(least, most);
  TORCH_CHECK(zero_point >= least && zero_point <= most, "`zero_point` must be between `quant_min` and `quant_max`.");
  return fake_quantized(self, static_cast<double>(static_cast<float>(scale)), zero_point, least, most);
}

FakeQuantized per_tensor_of_tensors(const at::Tensor& self, const at::Tensor& scale, const at::Tensor& zero_point,
                                    const at::Tensor& enabled, int64_t least, int64_t most) {
  check_range(least, most);
  const auto number = [](const at::Tensor& tensor) { return tensor.flatten().select(0, 0); };
  auto [output, mask] = fake_quantized(self, number(scale), number(zero_point), least, most);
  const at::Tensor is_on = number(enabled) != 0;
  return {at::where(is_on, output, self), mask.logical_or(is_on.logical_not())};
}

FakeQuantized per_channel(const at::Tensor& self, const at::Tensor& scale, const at::Tensor& zero_point, int64_t axis,
                          int64_t least, int64_t most) {
  TORCH_CHECK(scale.scalar_type() == at::kFloat || scale.scalar_type() == at::kBFloat16,
              "Scale must be Float or BFloat16, found ", scale.scalar_type());
  TORCH_CHECK(zero_point.scalar_type() == at::kInt || zero_point.scalar_type() == at::kFloat ||
                  zero_point.scalar_type() == at::kHalf,
              "Zero-point must be Int32, Float or Half, found ", zero_point.scalar_type());
  TORCH_CHECK(scale.dim() == 1, "scale should be a 1-D tensor");
  TORCH_CHECK(zero_point.dim() == 1, "zero point should be a 1-D tensor");
  TORCH_CHECK(scale.numel() == zero_point.numel(), "scale and zero-point need to have the same dimensions");
  TORCH_CHECK(axis >= 0 && axis < self.dim(), "`axis` must be between 0 and number of dimensions of input");
  TORCH_CHECK(scale.numel() == self.size(axis),
              "dimensions of scale and zero-point are not consistent with input tensor");
  check_range(least, most);
  std::vector<int64_t> shape(static_cast<size_t>(self.dim()), 1);
  shape[static_cast<size_t>(axis)] = -1;
  return fake_quantized(self, scale.to(at::kFloat).view(shape), zero_point.view(shape), least, most,
                        /*rounds_last=*/zero_point.is_floating_point());
}

}  // namespace

void register_composed_quantization(forward::Registrar& registrar) {
  forward::compose<at::_ops::fake_quantize_per_tensor_affine_cachemask>(registrar, TORCH_FN(per_tensor));
  forward::compose<at::_ops::_fake_quantize_per_tensor_affine_cachemask_tensor_qparams>(
      registrar, TORCH_FN(per_tensor_of_tensors));
  forward::compose<at::_ops::fake_quantize_per_channel_affine_cachemask>(registrar, TORCH_FN(per_channel));
}

}  // namespace torchdevice::aten
