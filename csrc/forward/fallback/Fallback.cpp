// forward/fallback/Fallback.cpp: runs a kernel on the native backend or on the CPU.

#include "forward/fallback/Fallback.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/DeviceGuard.h>
#include <c10/util/strides.h>

#include <algorithm>
#include <optional>
#include <typeinfo>
#include <utility>
#include <vector>

#include "allocator/CachingAllocator.h"
#include "forward/fallback/OnHost.h"
#include "native/Backend.h"

namespace torchdevice::forward {
namespace {

/// Contiguous ones: the tensor may be expanded.
c10::DimVector dense_strides(const at::Tensor& tensor) { return c10::contiguous_strides(tensor.sizes()); }

/// Copies of what a call writes to, on the native backend.
class SavedArguments {
 public:
  explicit SavedArguments(const CallKind& call) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    for (const at::Tensor* tensor : call.written()) {
      if (tensor->layout() == c10::kStrided && tensor->numel() > 0) {
        const c10::DeviceGuard guard(tensor->device());
        // Not at::empty, which may fill it by an operator that would be saved for.
        at::Tensor copy =
            at::detail::empty_strided_generic(tensor->sizes(), dense_strides(*tensor), &caching_allocator(),
                                              c10::DispatchKeySet(c10::DispatchKey::CUDA), tensor->scalar_type());
        copy.copy_(*tensor);
        saved_.emplace_back(*tensor, std::move(copy));
      }
    }
  }
  void put_back() const {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    for (const auto& [tensor, copy] : saved_) {
      if (tensor.sizes() == copy.sizes()) {  // what out= has resized is all result
        at::Tensor(tensor).copy_(copy);
      }
    }
  }

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> saved_;
};

/// None means that a refusal cannot be made good.
std::optional<SavedArguments> save_if_there_is_memory(const CallKind& call) {
  try {
    return std::optional<SavedArguments>(std::in_place, call);
  } catch (const c10::OutOfMemoryError&) {
    return std::nullopt;
  }
}

/// Above this backends refuse what they took when it was smaller.
constexpr uint64_t kLargeBytes = uint64_t{1} << 31U;

bool writes_much(const CallKind& call) {
  return std::any_of(call.written().begin(), call.written().end(), [](const at::Tensor* tensor) {
    return tensor->layout() == c10::kStrided && tensor->nbytes() > kLargeBytes;
  });
}

/// Errors of torch's other types are about values: an index, a matrix that has no inverse.
bool is_plain(const c10::Error& error) {
  return typeid(error) == typeid(c10::Error) || typeid(error) == typeid(c10::NotImplementedError) ||
         typeid(error) == typeid(c10::TypeError);
}

/// None if the native backend has done it; else why not. What it wrote is put back then.
Obstacle run_natively(OperatorRecord& record, const CallKind& call, c10::function_ref<void()> run) {
  const bool may_write = has_fallback() && !call.written().empty();
  const bool is_first = may_write && record.answer_to(call.hash()) != OperatorRecord::Answer::kAccepted;
  const bool may_be_refused = is_first || (may_write && (record.refuses_by_size() || writes_much(call)));
  // copy_ saves the others, and checks before it writes.
  const bool is_copy = record.name() == "aten::copy_";
  const auto saved = may_be_refused && !is_copy ? save_if_there_is_memory(call) : std::nullopt;
  const OnNative on_native;
  try {
    const Measured measured(record.native, call.bytes());
    run();
  } catch (const c10::Error& error) {
    native_backend().note_submission();
    const bool can_repeat =
        has_fallback() && (call.written().empty() || saved.has_value() || (may_be_refused && is_copy));
    const bool is_refusal = can_repeat && native_backend().is_refusal(error);
    if (!is_refusal) {
      native_backend().raise_if_out_of_memory(error);
      if (!can_repeat || !is_plain(error) || fallback_is_forbidden()) {
        throw;
      }
    }
    if (saved.has_value()) {
      saved->put_back();
    }
    if (!is_refusal) {
      record.note_failure(error.what_without_backtrace());
      return Obstacle::kFailed;
    }
    if (native_backend().refuses_by_size(error)) {
      record.note_refusal_by_size();
    } else {
      record.remember(call.hash(), OperatorRecord::Answer::kRefused);
    }
    return Obstacle::kRefused;
  }
  native_backend().note_submission();
  record.native.calls.fetch_add(1, std::memory_order_relaxed);
  if (is_first) {
    record.remember(call.hash(), OperatorRecord::Answer::kAccepted);
  }
  return Obstacle::kNone;
}

}  // namespace

void run_with_fallback(ChoosableKernel& kernel, const void* const* arguments, c10::function_ref<void()> run) {
  OperatorRecord* record = kernel.record.load(std::memory_order_relaxed);
  if (C10_UNLIKELY(record == nullptr)) {
    record = &operator_record(kernel.name, kernel.overload);
    kernel.record.store(record, std::memory_order_relaxed);
  }
  CallKind call(report_is_on());
  for (size_t i = 0; i < kernel.arguments; ++i) {
    kernel.see[i](call, arguments[i]);
  }
  run_with_fallback(*record, call, run);
}

void run_with_fallback(OperatorRecord& record, const CallKind& call, c10::function_ref<void()> run) {
  Obstacle obstacle = record.obstacle_to(call);
  if (obstacle == Obstacle::kNone) {
    obstacle = run_natively(record, call, run);
  }
  if (obstacle == Obstacle::kFailed) {
    run_on_host(run);  // if it fails here too, the error is the user's, and nothing fell back
    record.note_host_call(obstacle);
  } else if (obstacle != Obstacle::kNone) {
    run_on_host(record, obstacle, call, run);
  }
}

void run_on_host(OperatorRecord& record, Obstacle why, const CallKind& call, c10::function_ref<void()> run) {
  Tally& tally = record.note_host_call(why);
  run_on_host([&] {
    const Measured measured(tally, call.bytes());
    run();
  });
}

void run_on_host(c10::function_ref<void()> run) {
  const OnHost on_host;
  native_backend().settle();
  run();
}

}  // namespace torchdevice::forward
