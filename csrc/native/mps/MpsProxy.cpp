// native/mps/MpsProxy.cpp: keeps torch from counting MPS as a second accelerator beside CUDA.

#include "native/mps/MpsProxy.h"

#include <ATen/detail/MPSHooksInterface.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <new>
#include <string>

#include "versions/Versions.h"

namespace torchdevice {
namespace {

// Note [One accelerator]
// at::getAccelerator() refuses two built accelerators ("Cannot have both MPS and cuda."), and backward, pinned memory
// and streams all ask it. MPS is the native backend behind CUDA here, so it says isBuilt() == false; whatever else is
// asked of it goes to the real hooks, which torch.mps and torch.backends.mps keep using.
const at::MPSHooksInterface* real_hooks = nullptr;

struct MpsProxy final : versions::WithMaxBufferLength<at::MPSHooksInterface> {
  bool isBuilt() const override { return false; }
  bool isAvailable() const override { return real_hooks->isAvailable(); }
  bool hasPrimaryContext(c10::DeviceIndex device) const override { return real_hooks->hasPrimaryContext(device); }
  void init() const override { real_hooks->init(); }
  c10::DeviceIndex deviceCount() const override { return real_hooks->deviceCount(); }
  void setCurrentDevice(c10::DeviceIndex device) const override { real_hooks->setCurrentDevice(device); }
  c10::DeviceIndex getCurrentDevice() const override { return real_hooks->getCurrentDevice(); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override { return real_hooks->exchangeDevice(device); }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
    return real_hooks->maybeExchangeDevice(device);
  }
  bool isPinnedPtr(const void* data) const override { return real_hooks->isPinnedPtr(data); }
  at::Allocator* getPinnedMemoryAllocator() const override { return real_hooks->getPinnedMemoryAllocator(); }
  at::Device getDeviceFromPtr(void* data) const override { return real_hooks->getDeviceFromPtr(data); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex device) const override {
    return real_hooks->getDefaultGenerator(device);
  }
  at::Generator getNewGenerator(c10::DeviceIndex device) const override { return real_hooks->getNewGenerator(device); }

  bool hasMPS() const override { return real_hooks->hasMPS(); }
  bool isOnMacOSorNewer(unsigned major, unsigned minor) const override {
    return real_hooks->isOnMacOSorNewer(major, minor);
  }
  at::Allocator* getMPSDeviceAllocator() const override { return real_hooks->getMPSDeviceAllocator(); }
  void deviceSynchronize() const override { real_hooks->deviceSynchronize(); }
  void commitStream() const override { real_hooks->commitStream(); }
  void* getCommandBuffer() const override { return real_hooks->getCommandBuffer(); }
  void* getDispatchQueue() const override { return real_hooks->getDispatchQueue(); }
  void emptyCache() const override { real_hooks->emptyCache(); }
  size_t getCurrentAllocatedMemory() const override { return real_hooks->getCurrentAllocatedMemory(); }
  size_t getDriverAllocatedMemory() const override { return real_hooks->getDriverAllocatedMemory(); }
  size_t getRecommendedMaxMemory() const override { return real_hooks->getRecommendedMaxMemory(); }
  size_t getMaxBufferLength() const override { return versions::max_buffer_length(*real_hooks); }
  void setMemoryFraction(double ratio) const override { real_hooks->setMemoryFraction(ratio); }
  void profilerStartTrace(const std::string& mode, bool wait_until_completed) const override {
    real_hooks->profilerStartTrace(mode, wait_until_completed);
  }
  void profilerStopTrace() const override { real_hooks->profilerStopTrace(); }
  uint32_t acquireEvent(bool enable_timing) const override { return real_hooks->acquireEvent(enable_timing); }
  void releaseEvent(uint32_t event) const override { real_hooks->releaseEvent(event); }
  void recordEvent(uint32_t event) const override { real_hooks->recordEvent(event); }
  void waitForEvent(uint32_t event) const override { real_hooks->waitForEvent(event); }
  void synchronizeEvent(uint32_t event) const override { real_hooks->synchronizeEvent(event); }
  bool queryEvent(uint32_t event) const override { return real_hooks->queryEvent(event); }
  double elapsedTimeOfEvents(uint32_t start, uint32_t end) const override {
    return real_hooks->elapsedTimeOfEvents(start, end);
  }
};

// Constructed in place of torch's object: see Note [Hooks in place] and Note [Undefined on purpose].
static_assert(sizeof(MpsProxy) == sizeof(at::MPSHooksInterface) && alignof(MpsProxy) == alignof(at::MPSHooksInterface));

}  // namespace

std::function<void()> install_mps_proxy() {
  const auto& cached = at::detail::getMPSHooks();
  if (!cached.isBuilt()) {
    return [] {};
  }
  // A second object of the real class, which has no data either, so that ours can take the place of the first.
  real_hooks = versions::create(*at::MPSHooksRegistry(), "MPSHooks").release();
  TORCH_CHECK(real_hooks,
              "torchdevice cannot share this torch with MPS: it is built in, but its hooks are not registered");
  void* place = const_cast<at::MPSHooksInterface*>(&cached);
  std::array<std::byte, sizeof(MpsProxy)> before{};
  std::memcpy(before.data(), place, sizeof(MpsProxy));
  new (place) MpsProxy();
  return [=] { std::memcpy(place, before.data(), sizeof(MpsProxy)); };
}

}  // namespace torchdevice
