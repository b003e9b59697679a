// hooks/Guard.cpp: CUDA's entry in torch's table of device guards.

#include "hooks/Guard.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "allocator/CachingAllocator.h"
#include "runtime/AutogradEngine.h"
#include "runtime/Capture.h"
#include "runtime/Device.h"
#include "runtime/Event.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

c10::Device cuda_device(c10::DeviceIndex index) { return c10::Device(c10::kCUDA, index); }

c10::DeviceIndex index_of(c10::Device device) {
  TORCH_CHECK(device.is_cuda(), "Expected a CUDA device, but got ", device);
  return device.index();
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override {
    answer_backward_has_run();
    return c10::kCUDA;
  }

  c10::Device exchangeDevice(c10::Device device) const override {
    return cuda_device(exchange_device(index_of(device)));
  }
  c10::Device getDevice() const override { return cuda_device(current_device()); }
  void setDevice(c10::Device device) const override { exchange_device(index_of(device)); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { restore_device(device.index()); }
  c10::DeviceIndex deviceCount() const noexcept override { return device_count(); }
  c10::DeviceCapability getDeviceCapability(c10::Device /*device*/) const override { return {}; }
  void synchronizeDevice(c10::DeviceIndex device) const override { synchronize_device(device); }

  c10::Stream getStream(c10::Device device) const override { return current_stream(device.index()); }
  c10::Stream getDefaultStream(c10::Device device) const override { return default_stream(device.index()); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool high_priority) const override {
    return pool_stream(high_priority ? stream_priority_range().second : 0, device.index());
  }
  c10::Stream getNewStream(c10::Device device, int priority) const override {
    return pool_stream(priority, device.index());
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return exchange_stream(stream); }
  void* getStreamNativeHandle(const c10::Stream stream) const override { return stream_handle(stream); }
  bool queryStream(const c10::Stream& stream) const override { return stream_is_done(stream); }
  void synchronizeStream(const c10::Stream& stream) const override { synchronize_stream(stream); }
  bool isStreamCapturing(const c10::Stream& stream) const override { return capture_of(stream) != 0; }
  void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& stream) const override {
    check_stream(stream);
    caching_allocator().recordStream(data, stream);
  }

  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex device,
              const c10::EventFlag flag) const override {
    TORCH_CHECK(device == -1 || device == stream.device_index(), "Event device index ", static_cast<int>(device),
                " does not match recording stream's device index ", static_cast<int>(stream.device_index()), ".");
    TORCH_CHECK(flag == c10::EventFlag::PYTORCH_DEFAULT || flag == c10::EventFlag::BACKEND_DEFAULT,
                "CUDA event received unknown flag");
    if (!*event) {
      *event = new Event(stream.device_index(), flag == c10::EventFlag::BACKEND_DEFAULT);
    }
    static_cast<Event*>(*event)->record(stream);
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event) {
      static_cast<Event*>(event)->block(stream);
    }
  }
  bool queryEvent(void* event) const override { return !event || static_cast<Event*>(event)->query(); }
  void synchronizeEvent(void* event) const override {
    if (event) {
      static_cast<Event*>(event)->synchronize();
    }
  }
  void destroyEvent(void* event, const c10::DeviceIndex /*device*/) const noexcept override {
    delete static_cast<Event*>(event);
  }
  double elapsedTime(void* start, void* end, const c10::DeviceIndex /*device*/) const override {
    return static_cast<Event*>(start)->elapsed_ms(*static_cast<Event*>(end));
  }
};

}  // namespace

std::function<void()> install_guard() {
  static const auto* guard = new Guard();
  auto& slot = c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::kCUDA)];
  return [&slot, before = slot.exchange(guard)] { slot.store(before); };
}

}  // namespace torchdevice
