// forward/Substitution.h: other kernels in place of those that are registered.

#pragma once

#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/operator_name.h>

#include <optional>

namespace torchdevice::forward {

/// While one lives, each kernel that Registrar gets by its operator's C++ type goes through `choose`: what that returns
/// is registered, and nothing is where it returns nothing, so that torch's composite kernel runs.
class Substitution {
 public:
  using Choose = std::optional<c10::KernelFunction> (*)(const c10::OperatorName& name, c10::KernelFunction&& kernel);

  explicit Substitution(Choose choose) noexcept;
  ~Substitution();
  Substitution(const Substitution&) = delete;
  Substitution& operator=(const Substitution&) = delete;

  static std::optional<c10::KernelFunction> apply(const c10::OperatorName& name, c10::KernelFunction&& kernel);
};

}  // namespace torchdevice::forward
