// distributed/ProcessGroupNCCL.cpp: torch.distributed's backend "nccl"; see Note [NCCL over gloo].

#include "distributed/ProcessGroupNCCL.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>

#include <algorithm>

#include "distributed/NcclChecks.h"
#include "distributed/NcclReduction.h"

namespace torchdevice::distributed {
namespace {

using c10d::OpType;

Tensors flatten(const std::vector<Tensors>& lists) {
  Tensors tensors;
  for (const Tensors& list : lists) {
    tensors.insert(tensors.end(), list.begin(), list.end());
  }
  return tensors;
}

/// As gloo takes it: complex numbers as pairs, float8, which it does not know and which is only moved, as bytes.
at::Tensor plain(const at::Tensor& native) {
  if (native.is_complex()) {
    return at::view_as_real(native);
  }
  return at::isFloat8Type(native.scalar_type()) ? native.view(at::kByte) : native;
}

Tensors plain(Tensors natives) {
  std::transform(natives.begin(), natives.end(), natives.begin(), [](const at::Tensor& t) { return plain(t); });
  return natives;
}

std::vector<Tensors> plain(std::vector<Tensors> lists) {
  for (Tensors& list : lists) {
    list = plain(std::move(list));
  }
  return lists;
}

/// The memory of a dense tensor, whatever its dimensions and their order: NCCL is told an address and a count.
at::Tensor in_one_piece(const at::Tensor& tensor) {
  const at::Tensor native = plain(native_tensor(tensor));
  return native.as_strided({native.numel()}, {1});
}

Tensors in_one_piece(const Tensors& tensors) {
  Tensors pieces;
  pieces.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) {
    pieces.push_back(in_one_piece(tensor));
  }
  return pieces;
}

bool of_one_size(const Tensors& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const at::Tensor& tensor) { return tensor.is_same_size(tensors.front()); });
}

void check_gathered(const at::Tensor& output, const at::Tensor& input, int size) {
  TORCH_CHECK_TYPE(input.dtype() == output.dtype(), "output tensor must have the same type as input tensor");
  TORCH_CHECK_VALUE(input.numel() * size == output.numel(),
                    "output tensor size must be equal to world_size times input tensor size");
}

void check_scattered(const at::Tensor& output, const at::Tensor& input, int size) {
  TORCH_CHECK_TYPE(input.dtype() == output.dtype(), "input tensor must be the same type as the output tensor.");
  TORCH_CHECK_VALUE(input.numel() == output.numel() * size,
                    "input tensor must be the same size as output size times world size");
}

uint64_t next_uid() {
  static std::atomic<uint64_t> groups{0};
  return groups++;
}

c10::intrusive_ptr<ProcessGroupNCCL::Options> own_options(const c10::intrusive_ptr<c10d::Backend::Options>& options) {
  auto own = c10::dynamic_intrusive_pointer_cast<ProcessGroupNCCL::Options>(options);
  TORCH_CHECK(own != nullptr, "opts not a ProcessGroupNCCL::Options.");
  return own;
}

}  // namespace

ProcessGroupNCCL::ProcessGroupNCCL(const StorePtr& store, int rank, int size, c10::intrusive_ptr<Options> options,
                                   Connect connect)
    : Backend(rank, size), uid_(next_uid()), store_(store), connect_(connect), options_(std::move(options)) {
  if (options_->split_from) {
    options_->split_from->count_split();
  }
}

c10d::Backend& ProcessGroupNCCL::transport() {
  const std::lock_guard<std::mutex> lock(connection_mutex_);
  if (!transport_) {
    transport_ = connect_(store_, rank_, size_, options_->timeout);
  }
  return *transport_;
}

void ProcessGroupNCCL::setGroupUid(const std::string& uid) {
  Backend::setGroupUid(uid);
  transport();
}

void ProcessGroupNCCL::abort() {
  if (transport_) {
    transport_->abort();
  }
}

void ProcessGroupNCCL::shutdown() {
  if (transport_) {
    transport_->shutdown();
  }
}

void ProcessGroupNCCL::setTimeout(Milliseconds timeout) {
  options_->timeout = timeout;
  if (transport_) {
    transport_->setTimeout(timeout);
  }
}

ProcessGroupNCCL::BackendPtr ProcessGroupNCCL::split(const StorePtr& store, const std::vector<int>& ranks,
                                                     const c10::intrusive_ptr<c10d::Backend::Options>& options) {
  count_split();
  const auto mine = std::find(ranks.begin(), ranks.end(), rank_);
  if (mine == ranks.end()) {
    return nullptr;
  }
  auto own = own_options(options);
  own->split_color = *std::min_element(ranks.begin(), ranks.end());
  const auto& globals = options_->global_ranks_in_group;
  own->global_ranks_in_group.clear();
  for (const int rank : ranks) {
    own->global_ranks_in_group.push_back(globals.empty() ? rank : globals.at(rank));
  }
  return merge(store->clone(), own, static_cast<int>(mine - ranks.begin()), static_cast<int>(ranks.size()));
}

ProcessGroupNCCL::BackendPtr ProcessGroupNCCL::merge(const StorePtr& store,
                                                     const c10::intrusive_ptr<c10d::Backend::Options>& options,
                                                     const int& rank, const int& size) {
  return c10::make_intrusive<ProcessGroupNCCL>(store, rank, size, own_options(options), connect_);
}

void ProcessGroupNCCL::startCoalescing() { coalesced_.emplace(); }

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::endCoalescing() {
  TORCH_CHECK(coalesced_.has_value(), "end_coalescing without a start_coalescing before it");
  Coalesced all = std::move(*coalesced_);
  coalesced_.reset();
  return c10::make_intrusive<CudaWork>(std::move(all.parts), std::move(all.outputs), rank_, OpType::COALESCED,
                                       sequence_number_, Failures::kBackendErrors);
}

void ProcessGroupNCCL::check_bound_device(const Tensors& tensors) const {
  for (const at::Tensor& tensor : tensors) {
    if (bound_device_id_.has_value() && tensor.defined() && tensor.device() != *bound_device_id_) {
      C10_THROW_ERROR(DistBackendError,
                      c10::str("Attempt to perform collective on tensor not on device passed to init_process_group. "
                               "Tensor device: ",
                               tensor.device(), ", bound device: ", *bound_device_id_));
    }
  }
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::submit(OpType type, const char* name, const Tensors& inputs,
                                                   Tensors outputs, const std::function<Parts()>& submission) {
  check_bound_device(inputs);
  check_bound_device(outputs);
  at::RecordFunction record(at::RecordScope::USER_SCOPE);
  if (record.isActive()) {
    const std::vector<c10::IValue> arguments(inputs.begin(), inputs.end());
    record.before(name, c10::ArrayRef<const c10::IValue>(arguments.data(), arguments.size()));
  }
  Parts parts;
  try {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    parts = submission();
  } catch (const std::runtime_error&) {  // the transport's, such as a broken connection
    std::rethrow_exception(current_failure(Failures::kBackendErrors, type));
  }
  ++sequence_number_;
  if (coalesced_.has_value()) {
    coalesced_->parts.insert(coalesced_->parts.end(), parts.begin(), parts.end());
    coalesced_->outputs.insert(coalesced_->outputs.end(), outputs.begin(), outputs.end());
    parts.clear();  // done when the whole is
  }
  return c10::make_intrusive<CudaWork>(std::move(parts), std::move(outputs), rank_, type, sequence_number_,
                                       Failures::kBackendErrors);
}

template <class CollectiveOptions>
CollectiveOptions ProcessGroupNCCL::timed(CollectiveOptions options) {
  const Milliseconds more = ephemeral_timeout_.exchange(Milliseconds::zero());
  if (options.timeout == c10d::kUnsetTimeout) {
    options.timeout = options_->timeout + more;
  }
  return options;
}

ProcessGroupNCCL::WorkPtr ProcessGroupNCCL::broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) {
  const at::Tensor& tensor = only(tensors);
  check_tensor(tensor);
  return submit(OpType::BROADCAST, "nccl:broadcast", tensors, tensors, [&]() -> Parts {
    Tensors native{in_one_piece(tensor)};
    return {transport().broadcast(native, timed(options))};
  });
}

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
