// hooks/Profiler.cpp: device time for torch.autograd.profiler and torch.profiler.

#include "hooks/Profiler.h"

#include <c10/core/Stream.h>
#include <c10/util/ApproximateClock.h>
#include <torch/csrc/profiler/stubs/base.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "runtime/Device.h"
#include "runtime/Event.h"
#include "runtime/Stream.h"

// Note [Profiling without CUPTI]
// With CUPTI torch's profiler records what runs on the GPU: kernels and copies. Without it, also on NVIDIA's machines,
// it records an event before and one after each operator and calls the time between them device time. That is what
// these methods are for. A trace therefore has no kernel and no memcpy events.

namespace torchdevice {
namespace {

constexpr double kMicrosecondsPerMillisecond = 1000;

const Event& event_of(const torch::profiler::impl::ProfilerVoidEventStub* stub) {
  return *static_cast<const Event*>(stub->get());
}

struct Profiler final : torch::profiler::impl::ProfilerStubs {
  void record(c10::DeviceIndex* device, torch::profiler::impl::ProfilerVoidEventStub* event,
              int64_t* cpu_ns) const override {
    const auto current = current_device();
    if (device) {
      *device = current;
    }
    auto point = std::make_shared<Event>(current, /*timing=*/true);
    if (cpu_ns) {
      *cpu_ns = c10::getTime();
    }
    point->record(current_stream(current));
    *event = std::move(point);
  }

  /// Microseconds, at least one: torch.profiler takes operators of none for another kind, in rows of their own.
  float elapsed(const torch::profiler::impl::ProfilerVoidEventStub* start,
                const torch::profiler::impl::ProfilerVoidEventStub* end) const override {
    event_of(start).synchronize();
    event_of(end).synchronize();
    const double microseconds = event_of(start).elapsed_ms(event_of(end)) * kMicrosecondsPerMillisecond;
    return static_cast<float>(std::max(1.0, microseconds));
  }

  // Note [NVTX without a profiler] in python/Runtime.cpp: there is nobody to tell.
  void mark(const char* /*name*/) const override {}
  void rangePush(const char* /*name*/) const override {}
  void rangePop() const override {}

  bool enabled() const override { return true; }

  void onEachDevice(std::function<void(int)> visit) const override {
    const auto previous = current_device();
    for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
      set_current_device(device);
      visit(device);
    }
    restore_device(previous);
  }

  void synchronize() const override { synchronize_device(current_device()); }
};

}  // namespace

std::function<void()> install_profiler() {
  static auto* profiler = new Profiler();
  auto* before = const_cast<torch::profiler::impl::ProfilerStubs*>(torch::profiler::impl::cudaStubs());
  torch::profiler::impl::registerCUDAMethods(profiler);
  return [before] { torch::profiler::impl::registerCUDAMethods(before); };
}

}  // namespace torchdevice
