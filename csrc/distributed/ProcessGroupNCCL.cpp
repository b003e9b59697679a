// distributed/ProcessGroupNCCL.cpp: torch.distributed's backend "nccl": its group, and how a collective is submitted.

#include "distributed/ProcessGroupNCCL.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>

#include <algorithm>

#include "distributed/NcclChecks.h"

namespace torchdevice::distributed {
namespace {

using c10d::OpType;

uint64_t next_uid() {
  static std::atomic<uint64_t> groups{0};
  return groups++;
}

}  // namespace

c10::intrusive_ptr<ProcessGroupNCCL::Options> ProcessGroupNCCL::own_options(
    const c10::intrusive_ptr<c10d::Backend::Options>& options) {
  auto own = c10::dynamic_intrusive_pointer_cast<Options>(options);
  TORCH_CHECK(own != nullptr, "opts not a ProcessGroupNCCL::Options.");
  return own;
}

ProcessGroupNCCL::ProcessGroupNCCL(const StorePtr& store, int rank, int size, c10::intrusive_ptr<Options> options,
                                   Connect connect)
    : NewerBackend(rank, size), uid_(next_uid()), store_(store), connect_(connect), options_(std::move(options)) {
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
  return another<ProcessGroupNCCL>(store, options, rank, size);
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

}  // namespace torchdevice::distributed
