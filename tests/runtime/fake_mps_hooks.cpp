// tests/runtime/fake_mps_hooks.cpp: MPS hooks that say isBuilt(), as on a Mac, to test how torchdevice shares torch
// with them.

#include <ATen/detail/MPSHooksInterface.h>

#include <new>

namespace {

constexpr size_t kRecommendedMemory = 12345;

struct MPSHooks final : at::MPSHooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasMPS() const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  bool isOnMacOSorNewer(unsigned major, unsigned minor) const override { return major == 14 && minor == 2; }
  size_t getRecommendedMaxMemory() const override { return kRecommendedMemory; }
  double elapsedTimeOfEvents(uint32_t start, uint32_t end) const override { return end - start; }
};

}  // namespace

// The registry knows this class by its name, as it knows the real one in a torch built with MPS.
using at::MPSHooksRegistry;
using at::RegistererMPSHooksRegistry;
REGISTER_MPS_HOOKS(MPSHooks)

extern "C" {

/// Make torch's cached hooks object the one that a torch built with MPS would have cached.
void install_fake_mps_hooks() { new (const_cast<at::MPSHooksInterface*>(&at::detail::getMPSHooks())) MPSHooks(); }

bool mps_is_built() { return at::detail::getMPSHooks().isBuilt(); }
bool has_mps() { return at::detail::getMPSHooks().hasMPS(); }
int mps_device_count() { return at::detail::getMPSHooks().deviceCount(); }
bool mps_is_macos(unsigned major, unsigned minor) { return at::detail::getMPSHooks().isOnMacOSorNewer(major, minor); }
size_t mps_recommended_memory() { return at::detail::getMPSHooks().getRecommendedMaxMemory(); }
double mps_elapsed(uint32_t start, uint32_t end) { return at::detail::getMPSHooks().elapsedTimeOfEvents(start, end); }
}
