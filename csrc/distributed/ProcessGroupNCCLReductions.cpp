// distributed/ProcessGroupNCCLReductions.cpp: ProcessGroupNCCL's collectives that compute.

#include "distributed/NcclChecks.h"
#include "distributed/NcclReduction.h"
#include "distributed/ProcessGroupNCCL.h"

namespace torchdevice::distributed {

using c10d::OpType;

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) {
  const at::Tensor& tensor = only(tensors);
  check_reduction(tensor, options.reduceOp, "all_reduce");
  check_tensor(tensor);
  return submit(OpType::ALLREDUCE, "nccl:all_reduce", tensors, tensors, [&]() -> Parts {
    const NcclReduction reduction(options.reduceOp, tensor.scalar_type(), size_);
    Tensors native{reduction.prepare(in_one_piece(tensor))};
    auto own = timed(options);
    own.reduceOp = reduction.transports();
    return {reduction.finish(transport().allreduce(native, own), native)};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::allreduce_sparse(Tensors& /*tensors*/,
                                                             const c10d::AllreduceOptions& /*options*/) {
  C10_THROW_ERROR(Error, "NCCL does not support all_reduce with sparse tensors. Please use dense tensors instead.");
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::allreduce_coalesced(Tensors& tensors,
                                                                const c10d::AllreduceCoalescedOptions& options) {
  check_coalesced(tensors);
  check_reduction(tensors.front(), options.reduceOp, "all_reduce");
  return submit(OpType::COALESCED, "nccl:allreduce_coalesced", tensors, tensors, [&]() -> Parts {
    const NcclReduction reduction(options.reduceOp, tensors.front().scalar_type(), size_);
    Tensors natives = reduction.prepare(in_one_piece(tensors));
    auto own = timed(options);
    own.reduceOp = reduction.transports();
    return {reduction.finish(transport().allreduce_coalesced(natives, own), natives)};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::reduce(Tensors& tensors, const c10d::ReduceOptions& options) {
  const at::Tensor& tensor = only(tensors);
  check_reduction(tensor, options.reduceOp, "reduce");
  check_tensor(tensor);
  return submit(OpType::REDUCE, "nccl:reduce", tensors, tensors, [&]() -> Parts {
    const NcclReduction reduction(options.reduceOp, tensor.scalar_type(), size_);
    const at::Tensor piece = in_one_piece(tensor);
    Tensors native{reduction.prepare(rank_ == options.rootRank ? piece : piece.clone())};  // only the root's changes
    auto own = timed(options);
    own.reduceOp = reduction.transports();
    return {reduction.finish(transport().reduce(native, own), native)};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                                           const c10d::ReduceScatterOptions& options) {
  const at::Tensor& output = only(outputs);
  const Tensors& scattered = only(inputs);
  check_reduction(output, options.reduceOp, "reduce_scatter");
  check_tensor(output);
  return submit(OpType::REDUCE_SCATTER, "nccl:reduce_scatter", scattered, outputs, [&]() -> Parts {
    // A reduction for each rank, as sizes may differ: on the root in its output, elsewhere in a copy of its part.
    const NcclReduction reduction(options.reduceOp, output.scalar_type(), size_);
    const auto own = timed(options);
    const Tensors parts_of_input = plain(native_tensors(scattered));
    Parts parts;
    for (size_t rank = 0; rank < parts_of_input.size(); ++rank) {
      at::Tensor sum = parts_of_input[rank];
      if (static_cast<int>(rank) == rank_) {
        sum = in_one_piece(output);
        sum.copy_(parts_of_input[rank].flatten());
      } else {
        sum = sum.clone(at::MemoryFormat::Contiguous);
      }
      Tensors native{reduction.prepare(sum)};
      const c10d::ReduceOptions to_rank{reduction.transports(), static_cast<int64_t>(rank), 0, own.timeout};
      parts.push_back(reduction.finish(transport().reduce(native, to_rank), native));
    }
    return parts;
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::_reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                                                 const c10d::ReduceScatterOptions& options) {
  check_scattered(output, input, size_);
  check_reduction(input, options.reduceOp, "reduce_scatter");
  check_tensor(input);
  check_tensor(output);
  return submit(OpType::_REDUCE_SCATTER_BASE, "nccl:_reduce_scatter_base", {input}, {output}, [&]() -> Parts {
    const NcclReduction reduction(options.reduceOp, input.scalar_type(), size_);
    at::Tensor native_output = in_one_piece(output);
    at::Tensor native_input = reduction.prepare_copy(in_one_piece(input));
    auto own = timed(options);
    own.reduceOp = reduction.transports();
    return {reduction.finish(transport()._reduce_scatter_base(native_output, native_input, own), {native_output})};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                                            const c10d::ReduceScatterOptions& options) {
  check_coalesced(inputs);
  check_coalesced(outputs);
  check_reduction(inputs.front(), options.reduceOp, "reduce_scatter");
  for (size_t i = 0; i < inputs.size(); ++i) {
    check_scattered(outputs.at(i), inputs[i], size_);
  }
  return submit(OpType::REDUCE_SCATTER_TENSOR_COALESCED, "nccl:reduce_scatter_tensor_coalesced", inputs, outputs,
                [&]() -> Parts {
                  const NcclReduction reduction(options.reduceOp, inputs.front().scalar_type(), size_);
                  Tensors native_outputs = in_one_piece(outputs);
                  Tensors native_inputs = reduction.prepare_copies(in_one_piece(inputs));
                  auto own = timed(options);
                  own.reduceOp = reduction.transports();
                  return {reduction.finish(
                      transport().reduce_scatter_tensor_coalesced(native_outputs, native_inputs, own), native_outputs)};
                });
}

}  // namespace torchdevice::distributed
