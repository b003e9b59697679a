// Guard.cpp: MPS's entry in torch's table of device guards: one device, one stream.

#include <ATen/detail/MPSHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "Queue.h"
#include "Simulator.h"

namespace mps_simulator {
namespace {

const c10::Device kDevice(c10::kMPS, 0);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kMPS; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream getDefaultStream(c10::Device) const override { return getStream(kDevice); }
  c10::Stream getNewStream(c10::Device, int) const override { return getStream(kDevice); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  void synchronizeDevice(c10::DeviceIndex) const override { queue().drain(); }
  void synchronizeStream(const c10::Stream&) const override { queue().drain(); }
  bool queryStream(const c10::Stream&) const override { return queue().submitted() == queue().done(); }
  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    const auto& hooks = at::detail::getMPSHooks();
    if (*event == nullptr) {
      *event = reinterpret_cast<void*>(static_cast<uintptr_t>(hooks.acquireEvent(true)));
    }
    hooks.recordEvent(id_of(*event));
  }
  void block(void* event, const c10::Stream&) const override { at::detail::getMPSHooks().waitForEvent(id_of(event)); }
  bool queryEvent(void* event) const override { return at::detail::getMPSHooks().queryEvent(id_of(event)); }
  void synchronizeEvent(void* event) const override { at::detail::getMPSHooks().synchronizeEvent(id_of(event)); }
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override {
    at::detail::getMPSHooks().releaseEvent(id_of(event));
  }

 private:
  static uint32_t id_of(void* event) { return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(event)); }
};

}  // namespace

void install_guard() {
  static const auto* const guard = new Guard();
  c10::impl::registerDeviceGuard(c10::kMPS, guard);
}

}  // namespace mps_simulator
