// distributed/NcclChecks.h: what torch's ProcessGroupNCCL demands of the tensors that it is given, with its errors.

#pragma once

#include <torch/csrc/distributed/c10d/Types.hpp>

#include "distributed/NativeTensors.h"

namespace torchdevice::distributed {

/// The one tensor of a call that takes a list for historical reasons.
const at::Tensor& only(const Tensors& tensors);
const Tensors& only(const std::vector<Tensors>& lists);

/// A dense CUDA tensor of a type that NCCL knows, in one piece.
void check_tensor(const at::Tensor& tensor);

/// The same of a tensor to send or to receive: it needs no order of dimensions, only to be without holes.
void check_message(const at::Tensor& tensor);

/// Tensors that are reduced or gathered in one go: of one type, on one device.
void check_coalesced(const Tensors& tensors);

/// A reduction that NCCL has, for the type of `tensor`; `what` is the collective's name.
void check_reduction(const at::Tensor& tensor, const c10d::ReduceOp& reduction, const char* what);

/// The tensors of all_gather and of reduce_scatter: one has room for a part from each of the group's `size` ranks.
void check_gathered(const at::Tensor& output, const at::Tensor& input, int size);
void check_scattered(const at::Tensor& output, const at::Tensor& input, int size);

/// The lists of gather (on the root: one list, of a tensor like `mine` for each rank) and scatter.
void check_rooted_lists(const std::vector<Tensors>& lists, const at::Tensor& mine, int64_t root, int rank, int size,
                        const char* collective, const char* role);

}  // namespace torchdevice::distributed
