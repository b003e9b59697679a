// aten/NativeDistributions.cpp: random numbers where the native backend is not the CPU: that backend's, by its own
// kernels. CUDA's numbers (aten/Distributions.cpp) are computed on the host, which the device would have to wait for.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_dropout_ops.h>
#include <ATen/ops/bernoulli_ops.h>
#include <ATen/ops/cauchy_ops.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exponential_ops.h>
#include <ATen/ops/geometric_ops.h>
#include <ATen/ops/log_normal_ops.h>
#include <ATen/ops/native_dropout_native.h>
#include <ATen/ops/native_dropout_ops.h>
#include <ATen/ops/normal_ops.h>
#include <ATen/ops/random_ops.h>
#include <ATen/ops/uniform_ops.h>

#include "forward/Forward.h"

namespace torchdevice::aten {
namespace {

constexpr forward::Rule kDrawRule{forward::Mixing::kTensorIterator};

template <class... Op>
void forward_all(forward::Registrar& registrar) {
  (registrar.forward<Op, kDrawRule>(), ...);
}

template <class Op, class Signature = Op::schema>
struct InPlace;

/// As CUDA's, an in-place operator draws nothing for an empty tensor, and the generator stays where it was.
template <class Op, class... A>
struct InPlace<Op, at::Tensor&(at::Tensor&, A...)> {
  static at::Tensor& call(at::Tensor& self, A... arguments) {
    using Kernel = forward::Forwarded<Op, kDrawRule>;
    return self.numel() == 0 ? self : Kernel::call(self, std::forward<A>(arguments)...);
  }
};

template <class... Op>
void forward_in_place(forward::Registrar& registrar) {
  (registrar.forward_by<Op, InPlace<Op>>(), ...);
}

std::tuple<at::Tensor, at::Tensor> native_fused_dropout(const at::Tensor& self, double keep,
                                                        std::optional<at::Generator> generator) {
  at::Tensor mask = at::empty_like(self, self.options().dtype(at::kByte)).bernoulli_(keep, std::move(generator));
  return {self * mask * (1 / keep), mask};
}

}  // namespace

void register_native_distributions(forward::Registrar& registrar) {
  if (!forward::has_fallback()) {
    return;
  }
  forward_all<at::_ops::normal_Tensor_float, at::_ops::normal_float_Tensor, at::_ops::normal_Tensor_Tensor,
              at::_ops::normal_Tensor_float_out, at::_ops::normal_float_Tensor_out, at::_ops::normal_Tensor_Tensor_out,
              at::_ops::bernoulli_out>(registrar);
  forward_in_place<at::_ops::uniform_, at::_ops::normal_, at::_ops::log_normal_, at::_ops::geometric_,
                   at::_ops::exponential_, at::_ops::cauchy_, at::_ops::random_, at::_ops::random__from,
                   at::_ops::random__to, at::_ops::bernoulli__float, at::_ops::bernoulli__Tensor>(registrar);
  // The backend's own may take no generator (MPS's does not). This one is composed of operators, one of which does.
  registrar.implement<at::_ops::_fused_dropout>(TORCH_FN(native_fused_dropout));
  registrar.implement<at::_ops::native_dropout>(TORCH_FN(at::native::native_dropout_cpu));
}

}  // namespace torchdevice::aten
