// Calls.h: a boxed call of an operator: its tensors, and how the CPU does it.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include "Tensors.h"

namespace mps_simulator {

using Stack = torch::jit::Stack;
using Operator = c10::OperatorHandle;

template <class Visit>
void visit_tensors(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    visit(value.toTensor());
  } else if (value.isTensorList() || value.isOptionalTensorList()) {
    for (const c10::IValue& one : value.toListRef()) {
      visit_tensors(one, visit);
    }
  }
}

bool is_generator(const c10::Argument& argument);

/// The arguments with what stands in for their tensors.
Stack replaced(const Stack& arguments, StandIns& stand_ins);

/// The CPU's kernel; `stack` has its arguments, then its results.
void run_on_host(const Operator& op, Stack& stack);

}  // namespace mps_simulator
