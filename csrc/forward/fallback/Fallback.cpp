// forward/fallback/Fallback.cpp: runs a kernel on the native backend or on the CPU.

#include "forward/fallback/Fallback.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/DeviceGuard.h>
#include <c10/util/strides.h>

#include <optional>
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

/// Whether the native backend has done it.
bool run_natively(OperatorRecord& record, const CallKind& call, c10::function_ref<void()> run) {
  const bool first_write =
      has_fallback() && !call.written().empty() && record.answer_to(call.hash()) != OperatorRecord::Answer::kAccepted;
  // copy_ saves the others, and checks before it writes.
  const bool is_copy = record.name() == "aten::copy_";
  const auto saved = first_write && !is_copy ? save_if_there_is_memory(call) : std::nullopt;
  const OnNative on_native;
  try {
    const Measured measured(record.native, call.bytes());
    run();
  } catch (const c10::Error& error) {
    native_backend().note_submission();
    const bool can_repeat = call.written().empty() || saved.has_value() || (first_write && is_copy);
    if (!has_fallback() || !can_repeat || !native_backend().is_refusal(error)) {
      native_backend().raise_if_out_of_memory(error);
      throw;
    }
    record.remember(call.hash(), OperatorRecord::Answer::kRefused);
    if (saved.has_value()) {
      saved->put_back();
    }
    return false;
  }
  native_backend().note_submission();
  record.native.calls.fetch_add(1, std::memory_order_relaxed);
  if (first_write) {
    record.remember(call.hash(), OperatorRecord::Answer::kAccepted);
  }
  return true;
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
    if (run_natively(record, call, run)) {
      return;
    }
    obstacle = Obstacle::kRefused;
  }
  run_on_host(record, obstacle, call, run);
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
