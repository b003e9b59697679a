// forward/Site.h: a typed kernel as the choice between the native backend and the CPU sees it.

#pragma once

#include <c10/util/FunctionRef.h>

#include <atomic>
#include <cstddef>

#include "forward/Call.h"

namespace torchdevice::forward {

class OperatorRecord;

/// One object an operator; everything else is shared, as there are thousands.
struct Site {
  using See = void (*)(Call& call, const void* argument);

  const char* name;
  const char* overload;
  const See* see;  ///< for each argument
  size_t arguments;
  std::atomic<OperatorRecord*> record{nullptr};
};

/// Runs `kernel` where forward/Choice.h says.
void run_chosen(Site& site, const void* const* arguments, c10::function_ref<void()> kernel);

}  // namespace torchdevice::forward
