// Simulator.h: the parts of a simulated MPS device; see docs/platforms.md.

#pragma once

#include <atomic>
#include <cstdint>

namespace mps_simulator {

/// Put ourselves in place of the empty hooks that this torch has cached.
void install_hooks();
void install_guard();
void install_kernels();

/// Calls that MPS refused: for an operator, a type or a mode that it lacks.
inline std::atomic<uint64_t> refusals{0};

/// While it is true kernels do nothing and return their first argument, for benchmarks/mps.py.
inline std::atomic<bool> resting{false};

}  // namespace mps_simulator
