// Simulator.cpp: makes device "mps" work in a torch that was built without it.

#include "Simulator.h"

#include <c10/core/Allocator.h>

#include "Memory.h"
#include "Queue.h"
#include "Wrong.h"

extern "C" {

void mps_simulator_install() {
  static const bool installed = [] {
    c10::SetAllocator(c10::kMPS, &mps_simulator::allocator(), 255);
    mps_simulator::install_guard();
    mps_simulator::install_hooks();
    mps_simulator::install_kernels();
    return true;
  }();
  static_cast<void>(installed);
}

uint64_t mps_simulator_submitted() { return mps_simulator::queue().submitted(); }
uint64_t mps_simulator_done() { return mps_simulator::queue().done(); }
void mps_simulator_rest(bool rest) { mps_simulator::resting = rest; }
void mps_simulator_err(bool err) { mps_simulator::errs = err; }
uint64_t mps_simulator_refusals() { return mps_simulator::refusals; }
uint64_t mps_simulator_waits() { return mps_simulator::queue().waits(); }
}
