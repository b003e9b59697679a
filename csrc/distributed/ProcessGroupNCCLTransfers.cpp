// distributed/ProcessGroupNCCLTransfers.cpp: ProcessGroupNCCL's collectives that move tensors, and its messages.

#include <algorithm>

#include "distributed/NcclChecks.h"
#include "distributed/ProcessGroupNCCL.h"

namespace torchdevice::distributed {

using c10d::OpType;

namespace {

Tensors flatten(const std::vector<Tensors>& lists) {
  Tensors tensors;
  for (const Tensors& list : lists) {
    tensors.insert(tensors.end(), list.begin(), list.end());
  }
  return tensors;
}

bool of_one_size(const Tensors& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const at::Tensor& tensor) { return tensor.is_same_size(tensors.front()); });
}

}  // namespace

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) {
  const at::Tensor& tensor = only(tensors);
  check_tensor(tensor);
  return submit(OpType::BROADCAST, "nccl:broadcast", tensors, tensors, [&]() -> Parts {
    Tensors native{in_one_piece(tensor)};
    return {transport().broadcast(native, timed(options))};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                                                      const c10d::AllgatherOptions& options) {
  const at::Tensor& input = only(inputs);
  const Tensors& gathered = only(outputs);
  check_tensor(input);
  return submit(OpType::ALLGATHER, "nccl:all_gather", inputs, gathered, [&]() -> Parts {
    const auto own = timed(options);
    if (of_one_size(gathered)) {
      std::vector<Tensors> native_outputs{plain(native_tensors(gathered))};
      Tensors native_inputs{plain(native_tensor(input))};
      return {transport().allgather(native_outputs, native_inputs, own)};
    }
    Parts parts;
    const Tensors natives = plain(native_tensors(gathered));
    for (size_t rank = 0; rank < natives.size(); ++rank) {
      if (static_cast<int>(rank) == rank_) {
        natives[rank].copy_(plain(native_tensor(input)));
      }
      Tensors native{natives[rank]};
      parts.push_back(
          transport().broadcast(native, c10d::BroadcastOptions{static_cast<int64_t>(rank), 0, own.timeout}));
    }
    return parts;
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::_allgather_base(at::Tensor& output, at::Tensor& input,
                                                            const c10d::AllgatherOptions& options) {
  check_tensor(input);
  check_tensor(output);
  check_gathered(output, input, size_);
  return submit(OpType::_ALLGATHER_BASE, "nccl:_all_gather_base", {input}, {output}, [&]() -> Parts {
    at::Tensor native_output = in_one_piece(output);
    at::Tensor native_input = in_one_piece(input);
    return {transport()._allgather_base(native_output, native_input, timed(options))};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::allgather_coalesced(std::vector<Tensors>& /*outputs*/, Tensors& /*inputs*/,
                                                                const c10d::AllgatherOptions& /*options*/) {
  C10_THROW_ERROR(NotImplementedError, "ProcessGroupNCCL does not support allgather_coalesced");
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                                            const c10d::AllgatherOptions& options) {
  check_coalesced(inputs);
  check_coalesced(outputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    check_gathered(outputs.at(i), inputs[i], size_);
  }
  return submit(OpType::COALESCED, "nccl:all_gather_into_tensor_coalesced", inputs, outputs, [&]() -> Parts {
    Tensors native_outputs = in_one_piece(outputs);
    Tensors native_inputs = in_one_piece(inputs);
    return {transport().allgather_into_tensor_coalesced(native_outputs, native_inputs, timed(options))};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::gather(std::vector<Tensors>& outputs, Tensors& inputs,
                                                   const c10d::GatherOptions& options) {
  const at::Tensor& input = only(inputs);
  check_rooted_lists(outputs, input, options.rootRank, rank_, size_, "gather", "output");
  check_tensor(input);
  return submit(OpType::GATHER, "nccl:gather", inputs, flatten(outputs), [&]() -> Parts {
    std::vector<Tensors> native_outputs = plain(native_tensors(outputs));
    Tensors native_inputs{plain(native_tensor(input))};
    return {transport().gather(native_outputs, native_inputs, timed(options))};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::gather_single(at::Tensor& output, at::Tensor& input,
                                                          const c10d::GatherOptions& options) {
  std::vector<Tensors> outputs;
  if (rank_ == options.rootRank) {
    check_tensor(output);
    check_gathered(output, input, size_);
    outputs.push_back(output.view({size_, -1}).unbind());
    for (at::Tensor& part : outputs.front()) {
      part = part.view(input.sizes());
    }
  }
  Tensors inputs{input};
  return gather(outputs, inputs, options);
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                                    const c10d::ScatterOptions& options) {
  const at::Tensor& output = only(outputs);
  check_rooted_lists(inputs, output, options.rootRank, rank_, size_, "scatter", "input");
  check_tensor(output);
  return submit(OpType::SCATTER, "nccl:scatter", flatten(inputs), outputs, [&]() -> Parts {
    Tensors native_outputs{plain(native_tensor(output))};
    std::vector<Tensors> native_inputs = plain(native_tensors(inputs));
    return {transport().scatter(native_outputs, native_inputs, timed(options))};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::alltoall_base(at::Tensor& output, at::Tensor& input,
                                                          std::vector<int64_t>& output_sizes,
                                                          std::vector<int64_t>& input_sizes,
                                                          const c10d::AllToAllOptions& options) {
  check_tensor(output);
  check_tensor(input);
  return submit(OpType::ALLTOALL_BASE, "nccl:all_to_all", {input}, {output}, [&]() -> Parts {
    at::Tensor native_output = plain(native_tensor(output));
    at::Tensor native_input = plain(native_tensor(input));
    return {transport().alltoall_base(native_output, native_input, output_sizes, input_sizes, timed(options))};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::alltoall(Tensors& outputs, Tensors& inputs,
                                                     const c10d::AllToAllOptions& /*options*/) {
  TORCH_CHECK_VALUE(outputs.size() == static_cast<size_t>(size_) && inputs.size() == outputs.size(),
                    "Number of input and output tensors of all_to_all must be the number of ranks");
  for (size_t rank = 0; rank < outputs.size(); ++rank) {
    check_tensor(outputs[rank]);
    check_tensor(inputs[rank]);
    TORCH_CHECK(outputs[rank].device() == outputs[0].device() && inputs[rank].device() == outputs[0].device(),
                "Tensors must be on the same device");
  }
  // Messages, as NCCL has it: sizes may differ, and what is empty is not sent.
  return submit(OpType::ALLTOALL, "nccl:all_to_all", inputs, outputs, [&]() -> Parts {
    const Tensors native_outputs = in_one_piece(outputs);
    const Tensors native_inputs = in_one_piece(inputs);
    native_outputs[rank_].copy_(native_inputs[rank_]);
    Parts parts;
    for (int rank = 0; rank < size_; ++rank) {
      Tensors output{native_outputs[rank]};
      Tensors input{native_inputs[rank]};
      if (rank != rank_ && output.front().numel() != 0) {
        parts.push_back(transport().recv(output, rank, 0));
      }
      if (rank != rank_ && input.front().numel() != 0) {
        parts.push_back(transport().send(input, rank, 0));
      }
    }
    return parts;
  });
}

// NCCL knows no tags: messages between two ranks arrive in the order in which they were sent.

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::send(Tensors& tensors, int destination, int /*tag*/) {
  check_message(only(tensors));
  return submit(OpType::SEND, "nccl:send", tensors, tensors, [&]() -> Parts {
    Tensors native = in_one_piece(tensors);
    return {transport().send(native, destination, 0)};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::recv(Tensors& tensors, int source, int /*tag*/) {
  check_message(only(tensors));
  return submit(OpType::RECV, "nccl:recv", {}, tensors, [&]() -> Parts {
    Tensors native = in_one_piece(tensors);
    return {transport().recv(native, source, 0)};
  });
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::recvAnysource(Tensors& /*tensors*/, int /*tag*/) {
  C10_THROW_ERROR(NotImplementedError, "ProcessGroupNCCL does not support recvAnysource");
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::barrier(const c10d::BarrierOptions& options) {
  return submit(OpType::BARRIER, "nccl:barrier", {}, {},
                [&]() -> Parts { return {transport().barrier(timed(options))}; });
}

}  // namespace torchdevice::distributed
