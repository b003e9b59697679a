// aten/Exponential.cpp: CUDA never draws 0 from the exponential distribution, and programs divide by what they draw.
// The native kernel's small numbers become 0 where they are rounded to half precision.

#include <ATen/ops/clamp_min.h>
#include <ATen/ops/exponential_ops.h>

#include "aten/Kernels.h"

namespace torchdevice::aten {
namespace {

using Op = at::_ops::exponential_;
constexpr forward::Rule kRule{forward::Mixing::kTensorIterator};
constexpr double kSmallestDraw = 0x1p-24;  // CUDA's, for a lambda of 1

at::Tensor& exponential_(at::Tensor& self, double lambda, std::optional<at::Generator> generator) {
  forward::Forwarded<Op, forward::Forward<Op, kRule, Op::schema>>::call(self, lambda, std::move(generator));
  return self.scalar_type() == at::kHalf ? self.clamp_min_(kSmallestDraw / lambda) : self;
}

}  // namespace

void register_exponential(forward::Registrar& registrar) { registrar.implement<Op>(TORCH_FN(exponential_)); }

}  // namespace torchdevice::aten
