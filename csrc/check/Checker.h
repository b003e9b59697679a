// check/Checker.h: TORCHDEVICE_CHECK: a GPU's mistakes, found while the program runs.

#pragma once

#include <functional>
#include <vector>

#include "check/Waits.h"

namespace torchdevice::check {

/// Begins to observe if TORCHDEVICE_CHECK asks for a checker; before the caching allocator is made. Throws ValueError
/// for a checker that does not exist. What it returns ends it.
std::function<void()> install_checker();

/// Whether any checker is on.
bool is_checking() noexcept;

/// Where the host has waited so far; nothing where nobody asked.
std::vector<Wait> waits();

}  // namespace torchdevice::check
