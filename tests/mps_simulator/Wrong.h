// Wrong.h: what torch's MPS is known to compute wrong, behind a switch.

#pragma once

#include <atomic>

#include "Calls.h"

namespace mps_simulator {

/// mps_simulator_err(true): kernels err as those of torch 2.13's MPS do.
inline std::atomic<bool> errs{false};

/// Whether a kernel with out= leaves it as it is, as its size is another; raises the errors that are wrong.
bool leaves_out(const Operator& op, const Stack& arguments);
/// The host's stand-ins as kernels see them that ignore strides and offsets.
void spoil_arguments(const Operator& op, Stack& on_host);
/// Results of the host's kernel, on `arguments`, as they come out wrong.
void spoil_results(const Operator& op, const Stack& arguments, Stack& results);

}  // namespace mps_simulator
