// distributed/ContinuedWork.h: a transport's work and what remains to be done with its result.

#pragma once

#include <functional>
#include <mutex>
#include <torch/csrc/distributed/c10d/Work.hpp>

namespace torchdevice::distributed {

/// Done when `work` is done and `rest` has run, on the first thread that learns of it.
class ContinuedWork final : public c10d::Work {
 public:
  ContinuedWork(c10::intrusive_ptr<c10d::Work> work, std::function<void()> rest)
      : Work(-1, work->retrieveOpType()), work_(std::move(work)), rest_(std::move(rest)) {}

  bool isCompleted() override { return work_->isCompleted() && (!work_->isSuccess() || finish()); }
  bool isSuccess() const override { return work_->isSuccess(); }
  std::exception_ptr exception() const override { return work_->exception(); }
  bool wait(std::chrono::milliseconds timeout) override { return work_->wait(timeout) && finish(); }
  void abort() override { work_->abort(); }

  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override {
    const auto future = work_->getFuture();
    const auto self = c10::intrusive_ptr<ContinuedWork>::reclaim_copy(this);
    return future->then(
        [self](c10::ivalue::Future& done) {
          c10::IValue value = done.value();  // throws what made it fail
          self->finish();
          return value;
        },
        future->elementType());
  }

 private:
  bool finish() {
    std::call_once(finished_, rest_);
    return true;
  }

  const c10::intrusive_ptr<c10d::Work> work_;
  const std::function<void()> rest_;
  std::once_flag finished_;
};

}  // namespace torchdevice::distributed
