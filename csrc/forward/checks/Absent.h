// forward/checks/Absent.h: operators that a native backend has and CUDA has not.

#pragma once

#include "forward/checks/Checked.h"

namespace torchdevice::forward {

/// Throws the dispatcher's error for an operator without a kernel for CUDA.
void check_absent(const char* name, const char* overload);

template <class Op>
struct Absent {
  template <class... A>
  static void before(const A&... /*arguments*/) {
    check_absent(Op::name, Op::overload_name);
  }
};

}  // namespace torchdevice::forward
