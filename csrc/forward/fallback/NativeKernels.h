// forward/fallback/NativeKernels.h: which operators the native backend has a kernel of its own for.

#pragma once

#include <string>

namespace torchdevice::forward {

/// "aten::mul.Tensor" of a name and an overload, which may be empty.
std::string full_name(const char* name, const char* overload);

/// Whether the native backend has a kernel, or a composite one leads to its kernels; false where the backend says that
/// the CPU does it better.
bool has_native_kernel(const char* name, const char* overload);

/// Whether its only kernel is torch's that calls the form with out=, of which the backend has none either: a structured
/// operator that it has gets a kernel for each form.
bool delegates_to_out(const char* name, const char* overload);

}  // namespace torchdevice::forward
