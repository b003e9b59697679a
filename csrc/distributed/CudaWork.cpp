// distributed/CudaWork.cpp: the handle of a collective on CUDA tensors that a transport runs on native ones.

#include "distributed/CudaWork.h"

#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <memory>

namespace torchdevice::distributed {
namespace {

bool is_list_of_lists(const c10::IValue& value) { return value.isList() && !value.isTensorList(); }

c10::IValue without_outer_list_of_one(const c10::IValue& value) {
  if (!is_list_of_lists(value) || value.toListRef().size() > 1) {
    return value;
  }
  return value.toListRef().empty() ? c10::IValue(Tensors{}) : value.toListRef()[0];
}

std::vector<c10::Device> devices_of(const Tensors& tensors) {
  std::vector<c10::Device> devices;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined() && std::find(devices.begin(), devices.end(), tensor.device()) == devices.end()) {
      devices.push_back(tensor.device());
    }
  }
  return devices;
}

/// Waits for several things; the last one that is done calls back, with the first failure.
class Countdown {
 public:
  Countdown(size_t count, std::function<void(std::exception_ptr)> callback)
      : left_(count), callback_(std::move(callback)) {}

  void arrive(std::exception_ptr failure) {
    if (failure) {
      const std::lock_guard<std::mutex> lock(mutex_);
      failure_ = failure_ ? failure_ : std::move(failure);
    }
    if (left_.fetch_sub(1) == 1) {
      callback_(failure_);
    }
  }

 private:
  std::atomic<size_t> left_;
  std::mutex mutex_;
  std::exception_ptr failure_;
  const std::function<void(std::exception_ptr)> callback_;
};

}  // namespace

std::exception_ptr current_failure(Failures failures, c10d::OpType what) {
  if (failures == Failures::kAsTheyAre) {
    return std::current_exception();
  }
  try {
    throw;
  } catch (const c10::DistBackendError&) {
    return std::current_exception();
  } catch (const std::exception& error) {
    const char* text = error.what();
    if (const auto* torchs = dynamic_cast<const c10::Error*>(&error)) {
      text = torchs->what_without_backtrace();
    }
    return std::make_exception_ptr(c10::DistBackendError(
        {__func__, __FILE__, static_cast<uint32_t>(__LINE__)},
        c10::str("NCCL on 'cuda' without a GPU (over gloo): ", c10d::opTypeToString(what), " failed: ", text)));
  }
}

CudaWork::CudaWork(Parts parts, const c10::IValue& value, int rank, c10d::OpType type, uint64_t sequence_number,
                   Failures failures)
    : Work(rank, type),
      parts_(std::move(parts)),
      value_(without_outer_list_of_one(value)),
      sequence_number_(sequence_number),
      failures_(failures) {}

Tensors CudaWork::result() {
  if (!is_list_of_lists(value_)) {
    return value_.toTensorVector();
  }
  Tensors tensors;
  for (const c10::IValue& list : value_.toListRef()) {
    const Tensors some = list.toTensorVector();
    tensors.insert(tensors.end(), some.begin(), some.end());
  }
  return tensors;
}

bool CudaWork::isCompleted() {
  return std::all_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->isCompleted(); });
}

bool CudaWork::isSuccess() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->isSuccess(); });
}

std::exception_ptr CudaWork::exception() const {
  for (const auto& part : parts_) {
    if (part->exception()) {
      try {
        std::rethrow_exception(part->exception());
      } catch (...) {
        return current_failure(failures_, opType_);
      }
    }
  }
  return nullptr;
}

int CudaWork::sourceRank() const { return parts_.size() == 1 ? parts_.front()->sourceRank() : Work::sourceRank(); }

bool CudaWork::wait(std::chrono::milliseconds timeout) {
  try {
    for (const auto& part : parts_) {
      part->wait(timeout);
    }
  } catch (...) {
    std::rethrow_exception(current_failure(failures_, opType_));
  }
  return true;
}

void CudaWork::abort() {
  for (const auto& part : parts_) {
    part->abort();
  }
}

void CudaWork::when_done(std::function<void(std::exception_ptr)> callback) {
  const bool has_futures = std::none_of(parts_.begin(), parts_.end(),
                                        [](const auto& part) { return c10d::isP2POp(part->retrieveOpType()); });
  if (!has_futures) {  // gloo's send and recv have none: somebody must wait for them
    at::launch([parts = parts_, callback = std::move(callback)] {
      std::exception_ptr failure;
      try {
        for (const auto& part : parts) {
          part->wait(kNoTimeout);
        }
      } catch (...) {
        failure = std::current_exception();
      }
      callback(failure);
    });
    return;
  }
  // One more than there are parts, so that a work without parts is done as well.
  const auto countdown = std::make_shared<Countdown>(parts_.size() + 1, std::move(callback));
  for (const auto& part : parts_) {
    part->getFuture()->addCallback(
        [countdown](Future& done) { countdown->arrive(done.hasError() ? done.exception_ptr() : nullptr); });
  }
  countdown->arrive(nullptr);
}

c10::intrusive_ptr<c10::ivalue::Future> CudaWork::getFuture() {
  const std::lock_guard<std::mutex> lock(future_mutex_);
  if (!future_) {
    future_ = c10::make_intrusive<Future>(value_.type(), devices_of(result()));
    when_done(
        [future = future_, value = value_, failures = failures_, type = opType_](const std::exception_ptr& failure) {
          if (!failure) {
            future->markCompleted(value);
            return;
          }
          try {
            std::rethrow_exception(failure);
          } catch (...) {
            future->setError(current_failure(failures, type));
          }
        });
  }
  return future_;
}

c10::intrusive_ptr<c10::ivalue::Future> CudaWork::getFutureResult() {
  auto result = c10::make_intrusive<Future>(c10::IntType::get());
  when_done([result](const std::exception_ptr& failure) {
    result->markCompleted(static_cast<int64_t>(failure ? c10d::WorkResult::COMM_ERROR : c10d::WorkResult::SUCCESS));
  });
  return result;
}

}  // namespace torchdevice::distributed
