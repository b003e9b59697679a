// distributed/ProcessGroupNCCL2.h: torch.distributed's backends "nccl2" and "nccl-lazy", which came with torch 2.14.
// Since 2.15 "nccl" is the former.

#pragma once

#include <mutex>
#include <set>

#include "distributed/ProcessGroupNCCL.h"

namespace torchdevice::distributed {

// They differ from "nccl" in how they use NCCL's communicators. Without NCCL nothing is left of that but their names,
// and that a group split from one is one of the same.

class ProcessGroupNCCL2 final : public ProcessGroupNCCL {
 public:
  using ProcessGroupNCCL::ProcessGroupNCCL;

  const std::string getBackendName() const override { return "nccl2"; }
  BackendPtr merge(const StorePtr& store, const c10::intrusive_ptr<c10d::Backend::Options>& options, const int& rank,
                   const int& size) override {
    return another<ProcessGroupNCCL2>(store, options, rank, size);
  }
};

/// On a GPU it makes a communicator for each pair of ranks once one sends to the other.
class ProcessGroupNCCLLazy final : public ProcessGroupNCCL {
 public:
  using ProcessGroupNCCL::ProcessGroupNCCL;

  const std::string getBackendName() const override { return "nccl-lazy"; }
  BackendPtr merge(const StorePtr& store, const c10::intrusive_ptr<c10d::Backend::Options>& options, const int& rank,
                   const int& size) override {
    return another<ProcessGroupNCCLLazy>(store, options, rank, size);
  }
  WorkPtr send(Tensors& tensors, int destination, int tag) override {
    meet(destination);
    return ProcessGroupNCCL::send(tensors, destination, tag);
  }
  WorkPtr recv(Tensors& tensors, int source, int tag) override {
    meet(source);
    return ProcessGroupNCCL::recv(tensors, source, tag);
  }
  /// With how many ranks this one has a channel of its own.
  size_t active_channels() {
    const std::lock_guard guard(peers_mutex_);
    return peers_.size();
  }

 private:
  /// Within a coalesced batch everything goes through the group's own communicator.
  void meet(int peer) {
    if (!is_coalescing()) {
      const std::lock_guard guard(peers_mutex_);
      peers_.insert(peer);
    }
  }

  std::mutex peers_mutex_;
  std::set<int> peers_;
};

}  // namespace torchdevice::distributed
