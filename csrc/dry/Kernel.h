// dry/Kernel.h: the boxed kernel of a dry run, and the record of what it was called for.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <cstdint>
#include <vector>

#include "dry/Call.h"

namespace torchdevice::dry {

using Boxed = void(const c10::OperatorHandle&, c10::DispatchKeySet, torch::jit::Stack*);

template <Boxed* kernel>
c10::KernelFunction boxed() {
  return c10::KernelFunction::makeFromBoxedFunction<kernel>();
}

/// Works out the shapes of the results with the operator's Meta kernel, allocates them on the device, and computes
/// nothing. Calls of one kind ask the Meta kernel once.
void run(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

/// Keeps the kernel that would compute: where the Meta kernel refuses a call, that one says why in CUDA's words.
void keep_computing_kernel(const c10::OperatorName& name, c10::KernelFunction&& kernel);

/// As `run`, with other results than the Meta kernel's: `results` has their counterparts on device "meta".
void run_with(const c10::OperatorHandle& op, torch::jit::Stack* stack, const Call& call,
              const torch::jit::Stack& results);

/// As `run`, for an operator that only writes to its arguments.
void run_without_results(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

/// Raises CUDA's error for arguments on different devices.
void check_devices_of(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> arguments);

/// Calls of one kind.
struct RecordedCall {
  const c10::OperatorHandle* op;
  c10::DeviceIndex device;
  uint64_t count;
  uint64_t in_step;                    ///< in the last step that ended
  const torch::jit::Stack* arguments;  ///< without data
  const torch::jit::Stack* results;
};

/// A step of the program ends here, such as an optimizer's.
void end_step();

/// Everything so far; valid until the next call.
std::vector<RecordedCall> recorded_calls();

}  // namespace torchdevice::dry
