// aten/NanSum.cpp: sums of complex numbers without those that are not a number, which the CPU's kernel refuses.

#include <ATen/native/Resize.h>
#include <ATen/ops/nansum_ops.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/view_as_real.h>

#include <iterator>

#include "forward/Forward.h"

namespace torchdevice::aten {
namespace {

using forward::CheckedArgument;
using forward::Mixing;
using forward::Rule;

constexpr CheckedArgument kNanSumInput[] = {{0, "self"}};
constexpr CheckedArgument kNanSumInputAndOut[] = {{4, "out"}, {0, "self"}};
constexpr Rule kNanSumRule{Mixing::kSameDevice, "wrapper_CUDA__nansum", kNanSumInput, std::size(kNanSumInput)};
constexpr Rule kNanSumOutRule{Mixing::kSameDevice, "wrapper_CUDA_out_nansum_out_out", kNanSumInputAndOut,
                              std::size(kNanSumInputAndOut)};

template <class Op, const Rule& rule>
using NativeNanSum = forward::WithFallbackIfAny<Op, forward::Forwarded<Op, rule>>;

/// Zero where one of the parts is not a number; in single precision for halves, as CUDA adds them up.
at::Tensor without_nan(const at::Tensor& self) {
  const at::Tensor wide = self.scalar_type() == at::kComplexHalf ? self.to(at::kComplexFloat) : self;
  return wide.masked_fill(at::view_as_real(wide.resolve_conj()).isnan().any(-1), 0);
}

at::Tensor nansum(const at::Tensor& self, at::OptionalIntArrayRef dim, bool keepdim,
                  std::optional<at::ScalarType> dtype) {
  if (!self.is_complex()) {
    return NativeNanSum<at::_ops::nansum, kNanSumRule>::call(self, dim, keepdim, dtype);
  }
  return at::sum(without_nan(self), dim, keepdim).to(dtype.value_or(self.scalar_type()));
}

at::Tensor& nansum_out(const at::Tensor& self, at::OptionalIntArrayRef dim, bool keepdim,
                       std::optional<at::ScalarType> dtype, at::Tensor& out) {
  if (!self.is_complex()) {
    return NativeNanSum<at::_ops::nansum_out, kNanSumOutRule>::call(self, dim, keepdim, dtype, out);
  }
  TORCH_CHECK(!dtype.has_value() || *dtype == out.scalar_type(),
              "nansum: provided dtype must match dtype of result. Got ", out.scalar_type(), " and ", *dtype, ".");
  const at::Tensor result = at::sum(without_nan(self), dim, keepdim);
  at::native::resize_output(out, result.sizes());
  return out.copy_(result);
}

}  // namespace

void register_nan_sum(forward::Registrar& registrar) {
  registrar.implement<at::_ops::nansum>(TORCH_FN(nansum));
  registrar.implement<at::_ops::nansum_out>(TORCH_FN(nansum_out));
}

}  // namespace torchdevice::aten
