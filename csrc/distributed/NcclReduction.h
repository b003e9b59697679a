// distributed/NcclReduction.h: one of NCCL's reductions, by those that gloo has.

#pragma once

#include <torch/csrc/distributed/c10d/Types.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "distributed/NativeTensors.h"

namespace torchdevice::distributed {

/// A reduction of tensors of one type: factors are multiplied in before, and gloo, which divides as floating-point
/// numbers are divided, is told to sum integers that are to be averaged.
class NcclReduction {
 public:
  using WorkPtr = c10::intrusive_ptr<c10d::Work>;

  NcclReduction(const c10d::ReduceOp& reduction, at::ScalarType type, int ranks);

  /// What the transport does.
  const c10d::ReduceOp& transports() const { return transports_; }

  /// `native` as the transport takes it: changed in place, or a copy if it must change.
  at::Tensor prepare(const at::Tensor& native) const;
  at::Tensor prepare_copy(const at::Tensor& native) const;
  Tensors prepare(const Tensors& natives) const;
  Tensors prepare_copies(const Tensors& natives) const;

  /// `work` together with what is to be done with its results afterwards.
  WorkPtr finish(WorkPtr work, const Tensors& results) const;

 private:
  c10d::ReduceOp transports_;
  at::Tensor factor_;    ///< by which tensors are multiplied before, if defined
  int64_t divisor_ = 1;  ///< by which integers are divided afterwards
};

}  // namespace torchdevice::distributed
