// forward/DeviceAssertion.h: bad values on the device: indices, labels, probabilities. CUDA's kernels assert that there
// are none; native kernels raise errors of many types.

#pragma once

#include <c10/util/Exception.h>

#include <string_view>

namespace torchdevice::forward {

/// Whether the error of a native kernel of `op` is about values that lie on the device. What the host can see without
/// them (sizes, types, numbers in the call) has the same error on a GPU.
bool is_about_device_values(std::string_view op, const c10::Error& error);

/// Raise what a GPU raises where a kernel's assertion failed, and one more line: `op` and `detail`.
[[noreturn]] void fail_device_assertion(std::string_view op, std::string_view detail);

/// Whether `error` is what fail_device_assertion raises.
bool is_device_assertion(const c10::AcceleratorError& error);

}  // namespace torchdevice::forward
