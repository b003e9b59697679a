// Simulator.h: the parts of a simulated MPS device; see docs/platforms.md.

#pragma once

namespace mps_simulator {

/// Put ourselves in place of the empty hooks that this torch has cached.
void install_hooks();
void install_guard();
void install_kernels();

}  // namespace mps_simulator
