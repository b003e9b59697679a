// distributed/NcclReduction.cpp: one of NCCL's reductions, by those that gloo has.

#include "distributed/NcclReduction.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "distributed/ContinuedWork.h"

namespace torchdevice::distributed {

using c10d::ReduceOp;

NcclReduction::NcclReduction(const ReduceOp& reduction, at::ScalarType type, int ranks) : transports_(reduction) {
  if (reduction.op_ == ReduceOp::SUM && type == at::kBool) {
    transports_ = ReduceOp(ReduceOp::MAX);  // as torch does: a sum of truth values is their disjunction
  } else if (reduction.op_ == ReduceOp::AVG && at::isIntegralType(type, /*includeBool=*/false)) {
    transports_ = ReduceOp(ReduceOp::SUM);
    divisor_ = ranks;
  } else if (reduction.op_ == ReduceOp::PREMUL_SUM) {
    // The one name that torch 2.12 has; later ones keep it beside a new one.
    const auto& supplement = static_cast<const c10d::NCCLPreMulSumSupplement&>(*reduction.supplement_);
    factor_ = supplement.tensor_factor.defined() ? native_tensor(supplement.tensor_factor).view(at::IntArrayRef{})
                                                 : at::scalar_tensor(supplement.double_factor, at::kDouble);
    transports_ = ReduceOp(ReduceOp::SUM);
  }
}

at::Tensor NcclReduction::prepare(const at::Tensor& native) const {
  return factor_.defined() ? at::Tensor(native).mul_(factor_) : native;
}

at::Tensor NcclReduction::prepare_copy(const at::Tensor& native) const {
  return factor_.defined() ? prepare(native.clone()) : native;
}

Tensors NcclReduction::prepare(const Tensors& natives) const {
  Tensors prepared;
  std::transform(natives.begin(), natives.end(), std::back_inserter(prepared),
                 [this](const at::Tensor& native) { return prepare(native); });
  return prepared;
}

Tensors NcclReduction::prepare_copies(const Tensors& natives) const {
  Tensors prepared;
  std::transform(natives.begin(), natives.end(), std::back_inserter(prepared),
                 [this](const at::Tensor& native) { return prepare_copy(native); });
  return prepared;
}

NcclReduction::WorkPtr NcclReduction::finish(WorkPtr work, const Tensors& results) const {
  if (divisor_ == 1) {
    return work;
  }
  return c10::make_intrusive<ContinuedWork>(std::move(work), [results, divisor = divisor_] {
    for (const at::Tensor& result : results) {
      at::Tensor(result).div_(divisor, "trunc");
    }
  });
}

}  // namespace torchdevice::distributed
