// forward/checks/Checked.h: a kernel behind a check of its arguments.

#pragma once

namespace torchdevice::forward {

template <class Op, class Check, class Kernel, class Signature = Op::schema>
struct Checked;

/// `Kernel`, preceded by `Check::before`, which raises what CUDA would raise.
template <class Op, class Check, class Kernel, class R, class... A>
struct Checked<Op, Check, Kernel, R(A...)> {
  static R call(A... arguments) {
    Check::before(arguments...);
    return Kernel::call(arguments...);
  }
};

}  // namespace torchdevice::forward
