// dry/DataDependent.h: operators whose results are as large as the data say.

#pragma once

#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/operator_name.h>

#include <optional>

namespace torchdevice::dry {

/// A kernel that takes the most that the operator can return: every element is chosen, and all differ. What it was
/// asked for, and where, is counted. Nothing for operators whose results have a size without data.
std::optional<c10::KernelFunction> data_dependent_kernel(const c10::OperatorName& name);

}  // namespace torchdevice::dry
