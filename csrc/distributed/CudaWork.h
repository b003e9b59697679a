// distributed/CudaWork.h: the handle of a collective on CUDA tensors that a transport runs on native ones.

#pragma once

#include <functional>
#include <mutex>
#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

#include "distributed/NativeTensors.h"

namespace torchdevice::distributed {

/// What a failure of the transport is to the program.
enum class Failures : uint8_t { kAsTheyAre, kBackendErrors };

/// The exception that is being handled, as `failures` says; `what` failed.
std::exception_ptr current_failure(Failures failures, c10d::OpType what);

/// One collective: it is done when the transport has done all of its parts, and its results are CUDA tensors. The
/// memory is the host's, so there is no stream to order: wait() returns when the results are there.
class CudaWork final : public c10d::Work {
 public:
  using Parts = std::vector<c10::intrusive_ptr<c10d::Work>>;
  using Future = c10::ivalue::Future;

  /// `value` is what the future gives: tensors, or lists of them, of which a single one stands for itself.
  CudaWork(Parts parts, const c10::IValue& value, int rank, c10d::OpType type, uint64_t sequence_number,
           Failures failures);

  bool isCompleted() override;
  bool isSuccess() const override;
  std::exception_ptr exception() const override;
  int sourceRank() const override;
  Tensors result() override;
  void synchronize() override { wait(kNoTimeout); }
  bool wait(std::chrono::milliseconds timeout) override;
  void abort() override;
  c10::intrusive_ptr<Future> getFuture() override;
  c10::intrusive_ptr<Future> getFutureResult() override;
  uint64_t getSequencenumber() const override { return sequence_number_; }

 private:
  /// At once if everything is done; otherwise on a thread of the transport.
  void when_done(std::function<void(std::exception_ptr)> callback);

  const Parts parts_;
  const c10::IValue value_;
  const uint64_t sequence_number_;
  const Failures failures_;
  std::mutex future_mutex_;
  c10::intrusive_ptr<Future> future_;
};

}  // namespace torchdevice::distributed
