// distributed/NcclReductions.cpp: NCCL's reductions by those that gloo has.

#include "distributed/NcclReductions.h"

#include <ATen/ATen.h>

namespace torchdevice::distributed {
namespace {

using c10d::ReduceOp;

void multiply(at::Tensor& native, const c10d::PreMulSumSupplement& factor) {
  if (factor.tensor_factor.defined()) {
    native.mul_(native_tensor(factor.tensor_factor).view({}));
  } else {
    native.mul_(factor.double_factor);
  }
}

ReduceOp prepare(Tensors& natives, const ReduceOp& reduction, bool in_place) {
  if (reduction.op_ == ReduceOp::SUM && natives.front().scalar_type() == at::kBool) {
    return ReduceOp(ReduceOp::MAX);  // as torch does: a sum of truth values is their disjunction
  }
  if (reduction.op_ != ReduceOp::PREMUL_SUM) {
    return reduction;
  }
  const auto& factor = static_cast<const c10d::PreMulSumSupplement&>(*reduction.supplement_);
  for (at::Tensor& native : natives) {
    native = in_place ? native : native.clone();
    multiply(native, factor);
  }
  return ReduceOp(ReduceOp::SUM);
}

}  // namespace

ReduceOp prepare_in_place(Tensors& natives, const ReduceOp& reduction) { return prepare(natives, reduction, true); }

ReduceOp prepare_copies(Tensors& natives, const ReduceOp& reduction) { return prepare(natives, reduction, false); }

}  // namespace torchdevice::distributed
