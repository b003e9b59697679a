// runtime/AutogradEngine.h: torch's autograd engine, which starts its device threads only once.

#pragma once

namespace torchdevice {

/// Whether the autograd engine has run a backward pass in this process.
bool backward_has_run();

/// For the device guard's type(): how backward_has_run() gets its answer; see Note [Asking the engine].
void answer_backward_has_run();

/// Waits until the engine's device threads have let go of every backward pass that has ended. Without the GIL, which
/// they may need for it.
void settle_backward();

}  // namespace torchdevice
