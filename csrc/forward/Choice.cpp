// forward/Choice.cpp: native backend or CPU, operator by operator.

#include "forward/Choice.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/DeviceGuard.h>
#include <c10/util/strides.h>

#include <map>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "forward/Forced.h"
#include "forward/Refusal.h"
#include "forward/Side.h"
#include "forward/Site.h"
#include "native/Backend.h"
#include "runtime/CachingAllocator.h"

namespace torchdevice::forward {
namespace {

/// torch registers kernels for MPS that copy to the CPU and back; ours does without the copies. And one in Python that
/// leaves an empty `out` as it is (torch/_refs/linalg).
bool is_better_on_host(const std::string& name) {
  static const auto* names = new std::unordered_set<std::string>{
      "aten::_slow_conv2d_forward", "aten::col2im",       "aten::embedding_renorm_",      "aten::linalg_lu_solve.out",
      "aten::linalg_svd",           "aten::linalg_svd.U", "aten::upsample_nearest3d.vec",
  };
  return names->contains(name);
}

/// Tensors of other layouts are the CPU's work, and so is making them.
bool makes_another_layout(const std::string& name) {
  return name.starts_with("aten::_to_sparse") || name.starts_with("aten::to_sparse");
}

bool has_native_kernel(const char* name, const char* overload) {
  const auto op = c10::Dispatcher::singleton().findSchema({name, overload});
  const auto native = native_backend().component();
  // A backend's fallback is no kernel: MPS has one that raises an error.
  return op.has_value() &&
         (op->hasKernelForDispatchKey(c10::toRuntimePerBackendFunctionalityKey(c10::DispatchKey::Dense, native)) ||
          op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd) ||
          op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutogradNonFunctional) ||
          op->hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd));
}

std::string full_name(const char* name, const char* overload) {
  return *overload == '\0' ? std::string(name) : std::string(name) + "." + overload;
}

std::mutex records_mutex;
std::map<std::string, std::unique_ptr<OperatorRecord>>& records() {
  static auto* const all = new std::map<std::string, std::unique_ptr<OperatorRecord>>();
  return *all;
}

/// Contiguous ones: the tensor may be expanded.
c10::DimVector dense_strides(const at::Tensor& tensor) { return c10::contiguous_strides(tensor.sizes()); }

/// Copies of what a call writes to, on the native backend.
class SavedArguments {
 public:
  explicit SavedArguments(const Call& call) {
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
std::optional<SavedArguments> save_if_there_is_memory(const Call& call) {
  try {
    return std::optional<SavedArguments>(std::in_place, call);
  } catch (const c10::OutOfMemoryError&) {
    return std::nullopt;
  }
}

/// What keeps every call of an operator from the native backend.
Obstacle find_obstacle(const char* name, const char* overload) {
  if (!has_fallback()) {
    return Obstacle::none;  // only counted
  }
  const std::string full = full_name(name, overload);
  if (is_forced_to_host(full)) {
    return Obstacle::forced;
  }
  if (makes_another_layout(full)) {
    return Obstacle::layout;
  }
  const bool has_kernel = !is_better_on_host(full) && has_native_kernel(name, overload);
  return has_kernel ? Obstacle::none : Obstacle::no_kernel;
}

/// Whether the native backend has done it.
bool run_natively(OperatorRecord& record, const Call& call, c10::function_ref<void()> kernel) {
  const bool first_write =
      has_fallback() && !call.written().empty() && record.answer_to(call.kind()) != OperatorRecord::Answer::accepted;
  // copy_ saves the others, and checks before it writes.
  const bool is_copy = record.name() == "aten::copy_";
  const auto saved = first_write && !is_copy ? save_if_there_is_memory(call) : std::nullopt;
  const OnSide on(Side::kNative);
  try {
    const Measured measured(record.native, call.bytes());
    kernel();
  } catch (const c10::Error& error) {
    native_backend().note_submission();
    const bool can_repeat = call.written().empty() || saved.has_value() || (first_write && is_copy);
    if (!has_fallback() || !can_repeat || !is_refusal(error)) {
      native_backend().raise_if_out_of_memory(error);
      throw;
    }
    record.remember(call.kind(), OperatorRecord::Answer::refused);
    if (saved.has_value()) {
      saved->put_back();
    }
    return false;
  }
  native_backend().note_submission();
  record.native.calls.fetch_add(1, std::memory_order_relaxed);
  if (first_write) {
    record.remember(call.kind(), OperatorRecord::Answer::accepted);
  }
  return true;
}

}  // namespace

OperatorRecord::OperatorRecord(const char* name, const char* overload)
    : name_(full_name(name, overload)), always_(find_obstacle(name, overload)) {}

Obstacle OperatorRecord::obstacle_to(const Call& call) const noexcept {
  if (always_ != Obstacle::none) {
    return always_;
  }
  if ((call.dtypes() & native_backend().absent_dtypes()) != 0) {
    return Obstacle::data_type;
  }
  const bool was_refused = refusals_.load(std::memory_order_relaxed) != 0 && answer_to(call.kind()) == Answer::refused;
  return was_refused ? Obstacle::refused : Obstacle::none;
}

Tally& OperatorRecord::note_host_call(Obstacle why) {
  if (!has_fallback()) {
    native.calls.fetch_add(1, std::memory_order_relaxed);
    return native;
  }
  check_fallback(name_, why);
  if (host.calls.fetch_add(1, std::memory_order_relaxed) == 0) {
    first_obstacle_.store(why);
    warn_of_fallback(name_, why);
  }
  return host;
}

OperatorRecord::Answer OperatorRecord::answer_to(uint64_t kind) const noexcept {
  for (const auto& known : kinds_) {
    const uint64_t value = known.load(std::memory_order_relaxed);
    if (value == 0) {
      break;
    }
    if ((value ^ kind) <= 1) {
      return (value & 1U) != 0 ? Answer::refused : Answer::accepted;
    }
  }
  return Answer::unknown;
}

void OperatorRecord::remember(uint64_t kind, Answer answer) noexcept {
  const bool refused = answer == Answer::refused;
  if (answer_to(kind) == answer) {
    return;
  }
  const auto slot = answers_.fetch_add(1, std::memory_order_relaxed) % kRemembered;
  kinds_[slot].store((kind & ~uint64_t{1}) | uint64_t{refused}, std::memory_order_relaxed);
  if (refused) {
    refusals_.fetch_add(1, std::memory_order_relaxed);
  }
}

OperatorRecord& operator_record(const char* name, const char* overload) {
  const std::lock_guard guard(records_mutex);
  auto& record = records()[full_name(name, overload)];
  if (record == nullptr) {
    record = std::make_unique<OperatorRecord>(name, overload);
  }
  return *record;
}

std::vector<const OperatorRecord*> operator_records() {
  const std::lock_guard guard(records_mutex);
  std::vector<const OperatorRecord*> all;
  for (const auto& [name, record] : records()) {
    all.push_back(record.get());
  }
  return all;
}

void run_chosen(Site& site, const void* const* arguments, c10::function_ref<void()> kernel) {
  OperatorRecord* record = site.record.load(std::memory_order_relaxed);
  if (C10_UNLIKELY(record == nullptr)) {
    record = &operator_record(site.name, site.overload);
    site.record.store(record, std::memory_order_relaxed);
  }
  Call call(report_is_on());
  for (size_t i = 0; i < site.arguments; ++i) {
    site.see[i](call, arguments[i]);
  }
  run_chosen(*record, call, kernel);
}

void run_chosen(OperatorRecord& record, const Call& call, c10::function_ref<void()> kernel) {
  Obstacle obstacle = record.obstacle_to(call);
  if (obstacle == Obstacle::none) {
    if (run_natively(record, call, kernel)) {
      return;
    }
    obstacle = Obstacle::refused;
  }
  run_on_host(record, obstacle, call, kernel);
}

void run_on_host(OperatorRecord& record, Obstacle why, const Call& call, c10::function_ref<void()> kernel) {
  Tally& tally = record.note_host_call(why);
  run_on_host([&] {
    const Measured measured(tally, call.bytes());
    kernel();
  });
}

void run_on_host(c10::function_ref<void()> kernel) {
  const OnSide on(Side::kHost);
  native_backend().settle();
  kernel();
}

}  // namespace torchdevice::forward
