// forward/fallback/Composed.h: kernels composed of other operators, for what the native backend lacks.

#pragma once

#include "forward/Registrar.h"

namespace torchdevice::forward {

// Note [Composed kernels]
// What the native backend has no kernel for runs on the CPU, which first waits for the backend. Where such an operator
// is a composition of operators that the backend has, a composed kernel takes its place, and nobody waits. It is
// registered before the typed kernel of the same operator, which is then left out.

/// Whether the backend lacks the operator, and the user does not send it to the CPU.
bool must_be_composed(const char* name, const char* overload);

/// Whether that was so when its kernel was registered.
bool is_composed(const c10::OperatorName& name);

/// Registers `function` for an operator that must be composed: TORCH_FN(function).
template <class Op, class Function>
void compose(Registrar& registrar, Function function) {
  if (must_be_composed(Op::name, Op::overload_name)) {
    registrar.implement<Op>(function);
  }
}

/// All of them, in csrc/aten. Before the typed kernels.
void register_composed_kernels(Registrar& registrar);

}  // namespace torchdevice::forward
