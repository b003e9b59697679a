// forward/fallback/Fallback.h: runs a kernel on the native backend or on the CPU; where these are one, nobody asks.

#pragma once

#include <c10/util/FunctionRef.h>

#include <atomic>
#include <cstddef>

#include "forward/fallback/CallKind.h"
#include "forward/fallback/OperatorRecord.h"

namespace torchdevice::forward {

// Note [Falling back to the CPU]
// A call runs on the CPU, over the same memory, if its operator has no kernel of the native backend, if one of its
// data types does not exist there, or if the backend has refused a call of its kind before. Otherwise it runs natively;
// if the kernel then says that it cannot (NativeBackend::is_refusal) the call is made again on the CPU, and calls of
// its kind go there from then on; not if it refused the sizes, which are no part of the kind.
// After any other plain error the CPU is asked too. If it raises one, that is the user's; if not, the backend failed,
// which is counted, and nothing is remembered. Errors about values are the user's at once.
// An operator that writes to its arguments is run natively for the first time of each kind on saved arguments, which
// a refusal puts back: nothing is applied by half. Where sizes may be refused, they are saved each time.
// What the backend is known to do wrong: forward/fallback/Remedies.h.
// The CPU waits for the native backend only if work was submitted since somebody last waited: going over costs a wait,
// staying there does not.

/// A typed kernel as the choice sees it. One object an operator; all else is shared, as there are thousands.
struct ChoosableKernel {
  using See = void (*)(CallKind& call, const void* argument);

  const char* name;
  const char* overload;
  const See* see;  ///< for each argument
  size_t arguments;
  std::atomic<OperatorRecord*> record{nullptr};
};

/// Runs `run` where Note [Falling back to the CPU] says. It may be called twice, and must not have changed anything but
/// written arguments when it throws.
void run_with_fallback(OperatorRecord& record, const CallKind& call, c10::function_ref<void()> run);
/// The same for a typed kernel, given the addresses of its arguments.
void run_with_fallback(ChoosableKernel& kernel, const void* const* arguments, c10::function_ref<void()> run);

/// Calls `run` with the thread's aliases on the CPU, after everything that was submitted, and counts it; where the
/// native backend is the CPU, as a native call.
void run_on_host(OperatorRecord& record, Obstacle why, const CallKind& call, c10::function_ref<void()> run);
/// The same for what is no operator.
void run_on_host(c10::function_ref<void()> run);

}  // namespace torchdevice::forward
