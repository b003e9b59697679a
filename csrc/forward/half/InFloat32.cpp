// forward/half/InFloat32.cpp: a native kernel that runs on float32 copies of halves, its results rounded once.

#include "forward/half/InFloat32.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/TracerMode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/native/Resize.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "allocator/HostMemory.h"
#include "forward/half/Convert.h"
#include "forward/half/Elementwise.h"
#include "forward/half/HalfRule.h"

namespace torchdevice::forward {
namespace {

bool is_half_type(at::ScalarType type) { return type == at::kHalf || type == at::kBFloat16; }

/// Float32 and float64 statistics beside half tensors, which CUDA's kernels keep so.
bool is_statistic(const std::string& name) {
  static constexpr std::array<std::string_view, 7> kNames{"logsumexp", "attn_mask",   "mean",    "rstd",
                                                          "save_mean", "save_invstd", "save_var"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

bool kernel_writes(const c10::Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}
bool is_output(const c10::Argument& argument) { return kernel_writes(argument) && argument.kwarg_only(); }
bool is_dtype(const c10::Argument& argument) {
  const c10::Type& type = argument.real_type()->kind() == c10::TypeKind::OptionalType
                              ? *argument.real_type()->castRaw<c10::OptionalType>()->getElementType()
                              : *argument.real_type();
  return type.kind() == c10::TypeKind::ScalarTypeType;
}

/// One call: its arguments on the stack.
class HalfCall {
 public:
  HalfCall(const c10::OperatorHandle& op, const HalfRule& rule, torch::jit::Stack& stack)
      : schema_(op.schema()), rule_(rule), stack_(stack), first_(stack.size() - op.schema().arguments().size()) {}

  /// Whether it is to be computed in float32, and can be: one half type, and no other floating-point type beside it.
  bool suits() {
    for (size_t i = first_; suits_ && i < stack_.size(); ++i) {
      see(stack_[i], formal(i));
    }
    return suits_ && !at::tracer::impl::is_dispatch_enabled() && (dtype_set({type_}) & rule_.in_float32) != 0 &&
           !(writes_ && overlaps());
  }

  at::ScalarType type() const noexcept { return type_; }

  /// The arguments in float32. The caller's stay on the stack.
  torch::jit::Stack widened() {
    torch::jit::Stack wide;
    wide.reserve(stack_.size() - first_);
    for (size_t i = first_; i < stack_.size(); ++i) {
      wide.push_back(widened(stack_[i], formal(i)));
    }
    return wide;
  }

  /// After the kernel has run: what it wrote and returned becomes half, in the place of the arguments.
  void round(const torch::jit::Stack& results) {
    for (const auto& [caller, copy] : written_) {
      if (!caller.sizes().equals(copy.sizes())) {
        at::native::resize_output(caller, copy.sizes());
      }
      caller.copy_(copy);
    }
    torch::jit::drop(stack_, schema_.arguments().size());
    for (size_t i = 0; i < results.size(); ++i) {
      stack_.push_back(rounded(results[i], keeps_float32_ || (rule_.wide_results >> i & 1U) != 0));
    }
  }

 private:
  const c10::Argument& formal(size_t i) const { return schema_.arguments()[i - first_]; }

  void see(const c10::IValue& value, const c10::Argument& argument) {
    if (value.isTensor()) {
      see(value.toTensor(), argument);
    } else if (value.isTensorList() || value.isOptionalTensorList()) {
      for (const c10::IValue& one : value.toListRef()) {
        if (one.isTensor()) {
          see(one.toTensor(), argument);
        }
      }
    } else if (value.isComplexDouble() || (argument.name() == "half_to_float" && value.toBool())) {
      suits_ = false;  // the kernel widens by itself
    } else if (value.isInt() && is_dtype(argument)) {
      see(static_cast<at::ScalarType>(value.toInt()));
    }
  }
  /// The type that the caller asks for.
  void see(at::ScalarType asked) {
    if (asked == at::kFloat) {
      keeps_float32_ = true;
    } else if (is_half_type(asked)) {
      suits_ &= type_ == asked;
    } else if (at::isFloatingType(asked) || at::isComplexType(asked)) {
      suits_ = false;
    }
  }
  void see(const at::Tensor& tensor, const c10::Argument& argument) {
    if (!tensor.defined()) {
      return;
    }
    const at::ScalarType type = tensor.scalar_type();
    if (!device_.has_value()) {
      device_ = tensor.device();
    }
    suits_ &= tensor.is_cuda() && tensor.device() == *device_ && tensor.layout() == c10::kStrided && !tensor.is_neg() &&
              !tensor._is_zerotensor();
    writes_ |= kernel_writes(argument);
    if (is_half_type(type)) {
      suits_ &= type_ == at::ScalarType::Undefined || type_ == type;
      type_ = type;
      return;
    }
    // A number beside tensors does not say of what type the result is.
    const bool is_number = tensor.dim() == 0 && !kernel_writes(argument);
    suits_ &= (!at::isFloatingType(type) || is_number || is_statistic(argument.name())) && !at::isComplexType(type);
  }

  /// Whether kernels would refuse what is written for the memory it shares.
  bool overlaps() const {
    std::vector<std::pair<at::Tensor, bool>> tensors;
    for (size_t i = first_; i < stack_.size(); ++i) {
      if (stack_[i].isTensor() && stack_[i].toTensor().defined()) {
        tensors.emplace_back(stack_[i].toTensor(), kernel_writes(formal(i)));
      }
    }
    for (const auto& [written, is_written] : tensors) {
      if (is_written && at::has_internal_overlap(written) == at::MemOverlap::Yes) {
        return true;
      }
      for (const auto& [other, unused] : tensors) {
        const auto overlap = at::get_overlap_status(written, other);
        if (is_written && !written.is_same(other) &&
            (overlap == at::MemOverlapStatus::Full || overlap == at::MemOverlapStatus::Partial)) {
          return true;
        }
      }
    }
    return false;
  }

  c10::IValue widened(const c10::IValue& value, const c10::Argument& argument) {
    if (value.isTensor()) {
      return widened(value.toTensor(), argument);
    }
    if (value.isTensorList()) {
      c10::List<at::Tensor> wide;
      for (const at::Tensor& tensor : value.toTensorVector()) {
        wide.push_back(widened(tensor, argument));
      }
      return wide;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> wide;
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
        wide.push_back(tensor.has_value() ? std::optional(widened(*tensor, argument)) : std::nullopt);
      }
      return wide;
    }
    if (value.isInt() && is_dtype(argument) && is_half_type(static_cast<at::ScalarType>(value.toInt()))) {
      return static_cast<int64_t>(at::kFloat);
    }
    return value;
  }
  at::Tensor widened(const at::Tensor& tensor, const c10::Argument& argument) {
    if (!tensor.defined() || (!is_output(argument) && tensor.scalar_type() != type_)) {
      return tensor;
    }
    // What is only written is made by the kernel, whose result then goes where the caller wants it.
    if (is_output(argument)) {
      const at::ScalarType type = tensor.scalar_type() == type_ ? at::kFloat : tensor.scalar_type();
      return written_.emplace_back(tensor, empty_on_host({0}, {1}, type, tensor.device())).second;
    }
    const auto known =
        std::find_if(copies_.begin(), copies_.end(), [&](const auto& pair) { return pair.first.is_same(tensor); });
    const at::Tensor wide =
        known != copies_.end() ? known->second : copies_.emplace_back(tensor, float32_copy(tensor)).second;
    if (kernel_writes(argument) || (argument.name().starts_with("running_") && updates_statistics())) {
      written_.emplace_back(tensor, wide);
    }
    return wide;
  }

  bool updates_statistics() const {
    const auto position = schema_.argumentIndexWithName("training");
    return rule_.updates_statistics && position.has_value() && stack_[first_ + static_cast<size_t>(*position)].toBool();
  }

  c10::IValue rounded(const c10::IValue& value, bool stays_float32) const {
    if (value.isTensor()) {
      return rounded(value.toTensor(), stays_float32);
    }
    if (value.isTensorList()) {
      c10::List<at::Tensor> results;
      for (const at::Tensor& tensor : value.toTensorVector()) {
        results.push_back(rounded(tensor, stays_float32));
      }
      return results;
    }
    return value;
  }
  at::Tensor rounded(const at::Tensor& result, bool stays_float32) const {
    if (!result.defined()) {
      return result;
    }
    const auto caller =
        std::find_if(written_.begin(), written_.end(), [&](const auto& pair) { return pair.second.is_same(result); });
    if (caller != written_.end()) {
      return caller->first;
    }
    if (result.scalar_type() == at::kFloat && !stays_float32) {
      return rounded_to(type_, result);
    }
    // What stays is copied too: the device's memory is where results live.
    return result.clone();
  }

  const c10::FunctionSchema& schema_;
  const HalfRule& rule_;
  torch::jit::Stack& stack_;
  const size_t first_;
  at::ScalarType type_ = at::ScalarType::Undefined;
  std::optional<c10::Device> device_;
  bool suits_ = true;
  bool writes_ = false;
  bool keeps_float32_ = false;                              ///< the caller asks for a float32 result
  std::vector<std::pair<at::Tensor, at::Tensor>> copies_;   ///< the caller's tensor, and its float32 copy
  std::vector<std::pair<at::Tensor, at::Tensor>> written_;  ///< the caller's, and what the kernel writes to
};

class InFloat32 final : public c10::OperatorKernel {
 public:
  InFloat32(const HalfRule& rule, c10::KernelFunction kernel) : rule_(rule), kernel_(std::move(kernel)) {}

  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    HalfCall call(op, rule_, *stack);
    if (!call.suits()) {
      kernel_.callBoxed(op, keys, stack);
      return;
    }
    if (rule_.elementwise && run_elementwise(op, *stack, call.type())) {
      return;
    }
    torch::jit::Stack wide = call.widened();
    try {
      const HostMemory host_memory;
      kernel_.callBoxed(op, keys, &wide);
    } catch (const c10::Error&) {
      // Its error names float32. Halves, none of which it has written to, have the right one.
      kernel_.callBoxed(op, keys, stack);
      return;
    }
    call.round(wide);
  }

 private:
  const HalfRule rule_;
  const c10::KernelFunction kernel_;
};

}  // namespace

c10::KernelFunction in_float32(const HalfRule& rule, c10::KernelFunction kernel) {
  return c10::KernelFunction::makeFromBoxedFunctor(std::make_unique<InFloat32>(rule, std::move(kernel)));
}

}  // namespace torchdevice::forward
