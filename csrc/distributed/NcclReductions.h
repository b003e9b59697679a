// distributed/NcclReductions.h: NCCL's reductions by those that gloo has.

#pragma once

#include <torch/csrc/distributed/c10d/Types.hpp>

#include "distributed/NativeTensors.h"

namespace torchdevice::distributed {

/// The transport's reduction which on `natives`, as they are afterwards, does what `reduction` does on them now:
/// factors are multiplied in here.
c10d::ReduceOp prepare_in_place(Tensors& natives, const c10d::ReduceOp& reduction);

/// The same, but what must change is replaced by a copy.
c10d::ReduceOp prepare_copies(Tensors& natives, const c10d::ReduceOp& reduction);

}  // namespace torchdevice::distributed
