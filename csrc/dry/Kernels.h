// dry/Kernels.h: the door of csrc/dry: a dry run's kernels in place of those that compute.

#pragma once

#include <functional>

namespace torchdevice::dry {

/// Whether this process is a dry run: TORCHDEVICE_BACKEND=dry. Decided once; kernels are chosen by it at activation, so
/// nothing asks during a call.
bool is_on();

/// Registers all kernels of a dry run.
void register_kernels();

/// As forward::register_boxed_fallback, for operators that other libraries bring.
std::function<void()> register_fallback();

}  // namespace torchdevice::dry
