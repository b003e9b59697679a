// forward/fallback/Forced.h: operators that the user sends to the CPU.

#pragma once

#include <string>

namespace torchdevice::forward {

/// Reads TORCHDEVICE_FORCE_CPU_OPS: names between commas, with or without "aten::", with or without an overload. Throws
/// c10::ValueError if ATen has no such operator; those of other libraries may be registered later. Before the first
/// call.
void read_forced_operators();

/// Of a full name, such as "aten::mul.Tensor".
bool is_forced_to_host(const std::string& name);

}  // namespace torchdevice::forward
