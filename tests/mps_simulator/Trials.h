// Trials.h: whether a call may be done late, found out by a first one of its kind.

#pragma once

#include <c10/util/Exception.h>

#include <vector>

#include "Calls.h"

namespace mps_simulator {

struct Trial {
  bool may_be_late = false;
  std::vector<c10::Warning> warnings;
};

/// Metal's kernels raise nothing once they run, so what a call may raise, or warn of, must be known when it is made.
/// The first call of each kind is tried on zeros, aside of the queue. What the CPU's kernel does not implement, MPS
/// refuses now. What fails otherwise, perhaps because of the zeros, or gives other results than was planned, is not
/// done late.
const Trial& tried(const Operator& op, const Stack& arguments);

}  // namespace mps_simulator
