// distributed/ProcessGroupNCCL.h: torch.distributed's backend "nccl": NCCL's interface, over a transport of native
// tensors.

#pragma once

#include <atomic>
#include <climits>
#include <memory>
#include <mutex>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "distributed/CudaWork.h"
#include "versions/Versions.h"

namespace torchdevice::distributed {

// Note [NCCL over gloo]
// A collective on CUDA tensors is gloo's on native tensors over the same memory, so nothing is copied. What NCCL
// demands of its arguments is demanded here, with its errors; what it has and gloo has not is composed: scaled sums,
// tensors of unequal size, float8. As gloo's headers do not come with torch, the transport is any c10d::Backend, made
// by python/Distributed.cpp with torch's own class. NCCL waits for streams and gloo blocks: results are there when
// wait() returns, and a failure is raised there, as torch does under TORCH_NCCL_BLOCKING_WAIT=1.

/// ncclConfig_t: kept and given back; there is no NCCL to be configured.
struct NcclConfig {
  static constexpr int kUndefined = INT_MIN;
  int blocking = kUndefined;
  int cga_cluster_size = kUndefined;
  int min_ctas = kUndefined;
  int max_ctas = kUndefined;
  int split_share = kUndefined;
  int shrink_share = kUndefined;
  int traffic_class = kUndefined;
  int collnet_enable = kUndefined;
  int cta_policy = kUndefined;
  int nvls_ctas = kUndefined;
  std::optional<std::string> net_name;
  std::optional<std::string> comm_name;
};

using Transport = std::shared_ptr<c10d::Backend>;
/// Connects the ranks that share `store`; returns when all have come.
using Connect = Transport (*)(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                              std::chrono::milliseconds timeout);

/// In several files: collectives are in ProcessGroupNCCLReductions.cpp and ProcessGroupNCCLTransfers.cpp, all else is
/// in ProcessGroupNCCL.cpp.
class ProcessGroupNCCL : public versions::NewerBackend<c10d::Backend> {
 public:
  using WorkPtr = c10::intrusive_ptr<c10d::Work>;
  using BackendPtr = c10::intrusive_ptr<c10d::Backend>;
  using StorePtr = c10::intrusive_ptr<c10d::Store>;
  using Milliseconds = std::chrono::milliseconds;

  static constexpr const char* kName = "nccl";
  static constexpr Milliseconds kDefaultTimeout{10 * 60 * 1000};

  struct Options final : c10d::Backend::Options {
    explicit Options(bool is_high_priority_stream = false)
        : c10d::Backend::Options(kName, kDefaultTimeout), is_high_priority_stream(is_high_priority_stream) {}

    bool is_high_priority_stream;
    NcclConfig config;
    c10::intrusive_ptr<ProcessGroupNCCL> split_from;
    int64_t split_color = 0;
  };

  ProcessGroupNCCL(const StorePtr& store, int rank, int size, c10::intrusive_ptr<Options> options, Connect connect);

  const std::string getBackendName() const override { return kName; }
  c10::intrusive_ptr<c10d::Backend::Options> getBackendOptions() override { return options_; }
  const c10::intrusive_ptr<Options>& options() const { return options_; }
  void setTimeout(Milliseconds timeout) override;
  /// The next collective gets this much more time.
  void addEphemeralTimeout(const Milliseconds& timeout) override { ephemeral_timeout_ = timeout; }

  bool supportsSplitting() const override { return true; }
  BackendPtr split(const StorePtr& store, const std::vector<int>& ranks,
                   const c10::intrusive_ptr<c10d::Backend::Options>& options) override;
  BackendPtr merge(const StorePtr& store, const c10::intrusive_ptr<c10d::Backend::Options>& options, const int& rank,
                   const int& size) override;
  /// A rank that is not in a group which is split from this one takes part as well.
  void count_split() { ++split_count_; }
  uint64_t split_count() const { return split_count_; }
  /// Counts the groups of this process from 0.
  uint64_t uid() const { return uid_; }

  /// Between these two the collectives are one, whose work endCoalescing returns.
  bool supportsCoalescing() const override { return true; }
  void startCoalescing() override;
  WorkPtr endCoalescing() override;

  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override;
  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override;
  WorkPtr allreduce_sparse(Tensors& tensors, const c10d::AllreduceOptions& options) override;
  WorkPtr allreduce_coalesced(Tensors& tensors, const c10d::AllreduceCoalescedOptions& options) override;
  WorkPtr reduce(Tensors& tensors, const c10d::ReduceOptions& options) override;
  WorkPtr allgather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::AllgatherOptions& options) override;
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& options) override;
  WorkPtr allgather_coalesced(std::vector<Tensors>& outputs, Tensors& inputs,
                              const c10d::AllgatherOptions& options) override;
  WorkPtr allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::AllgatherOptions& options) override;
  WorkPtr gather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::GatherOptions& options) override;
  WorkPtr gather_single(at::Tensor& output, at::Tensor& input, const c10d::GatherOptions& options) override;
  WorkPtr scatter(Tensors& outputs, std::vector<Tensors>& inputs, const c10d::ScatterOptions& options) override;
  WorkPtr reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                         const c10d::ReduceScatterOptions& options) override;
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                               const c10d::ReduceScatterOptions& options) override;
  WorkPtr reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::ReduceScatterOptions& options) override;
  WorkPtr alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>& output_sizes,
                        std::vector<int64_t>& input_sizes, const c10d::AllToAllOptions& options) override;
  WorkPtr alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& options) override;
  WorkPtr send(Tensors& tensors, int destination, int tag) override;
  WorkPtr recv(Tensors& tensors, int source, int tag) override;
  WorkPtr recvAnysource(Tensors& tensors, int tag) override;
  WorkPtr barrier(const c10d::BarrierOptions& options) override;

  /// Sequence numbers begin with the group on every rank: there is nothing to agree upon.
  void setSequenceNumberForGroup() override {}
  uint64_t getSequenceNumberForGroup() override { return sequence_number_; }

  /// Called once all backends of the group have been made, on every rank: the time to connect. Sooner, this group's
  /// gloo could come before one that the program asked for, and torch's gloo finds the default group by its number.
  void setGroupUid(const std::string& uid) override;

  void abort() override;
  void shutdown() override;

 protected:
  bool is_coalescing() const { return coalesced_.has_value(); }
  /// A group of class `Group` over the same transport.
  template <class Group>
  BackendPtr another(const StorePtr& store, const c10::intrusive_ptr<c10d::Backend::Options>& options, int rank,
                     int size) {
    return c10::make_intrusive<Group>(store, rank, size, own_options(options), connect_);
  }

 private:
  using Parts = CudaWork::Parts;

  static c10::intrusive_ptr<Options> own_options(const c10::intrusive_ptr<c10d::Backend::Options>& options);

  /// Connects if that has not happened: this object may be used without a group.
  c10d::Backend& transport();
  WorkPtr submit(c10d::OpType type, const char* name, const Tensors& inputs, Tensors outputs,
                 const std::function<Parts()>& submission);
  void check_bound_device(const Tensors& tensors) const;
  /// With the group's timeout, where the call has none of its own.
  template <class CollectiveOptions>
  CollectiveOptions timed(CollectiveOptions options) {
    const Milliseconds more = ephemeral_timeout_.exchange(Milliseconds::zero());
    if (options.timeout == c10d::kUnsetTimeout) {
      options.timeout = options_->timeout + more;
    }
    return options;
  }

  const uint64_t uid_;
  const StorePtr store_;
  const Connect connect_;
  const c10::intrusive_ptr<Options> options_;
  std::mutex connection_mutex_;
  Transport transport_;
  std::atomic<uint64_t> sequence_number_{0};
  std::atomic<uint64_t> split_count_{0};
  std::atomic<Milliseconds> ephemeral_timeout_{Milliseconds::zero()};

  /// What has been submitted since startCoalescing().
  struct Coalesced {
    Parts parts;
    Tensors outputs;
  };
  std::optional<Coalesced> coalesced_;
};

}  // namespace torchdevice::distributed
