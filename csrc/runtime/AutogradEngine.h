// runtime/AutogradEngine.h: torch's autograd engine and its device threads.

#pragma once

namespace torchdevice {

/// Whether the autograd engine has run a backward pass in this process.
bool backward_has_run();

/// For the device guard's type(): how backward_has_run() gets its answer; see Note [Asking the engine].
void answer_backward_has_run();

/// Backward passes that the calling thread begins run on it, unless the program asks for device threads by
/// torch.autograd.set_multithreading_enabled(True); see Note [Threads of a backward pass].
void keep_backward_on_this_thread();

/// Waits until the engine's device threads have let go of every backward pass that has ended. Without the GIL, which
/// they may need for it.
void settle_backward();

}  // namespace torchdevice
