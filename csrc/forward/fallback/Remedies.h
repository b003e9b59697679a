// forward/fallback/Remedies.h: what is done where the native backend is known to be wrong.

#pragma once

#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/operator_name.h>

#include <string>

namespace torchdevice::forward {

// Note [Known to be wrong]
// A backend has rules for operators that it gets wrong (NativeBackend::known_wrong). They stand before the kernels of
// these operators, and see their arguments boxed; other operators know nothing of them.

/// The kernel behind the backend's rules for that operator; itself where there are none.
c10::KernelFunction with_remedies(const c10::OperatorName& name, c10::KernelFunction kernel);

/// Whether there are rules for it; of a full name, such as "aten::mm.out".
bool has_remedies(const std::string& full_name);

/// Whether a rule sends the call that is on its way to the CPU.
bool remedy_wants_host() noexcept;

}  // namespace torchdevice::forward
