// Hooks.cpp: what ATen asks of MPS: memory, waiting, events, generators.

#include <ATen/detail/MPSHooksInterface.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "Generator.h"
#include "Memory.h"
#include "Queue.h"
#include "Simulator.h"

namespace mps_simulator {
namespace {

struct Event {
  bool timing = false;
  bool recorded = false;
  std::shared_ptr<std::atomic<bool>> passed = std::make_shared<std::atomic<bool>>(true);
  std::shared_ptr<std::chrono::steady_clock::time_point> time =
      std::make_shared<std::chrono::steady_clock::time_point>();
};

std::mutex events_mutex;
std::map<uint32_t, Event> events;
uint32_t last_event = 0;

Event& find_event(uint32_t id) {
  const auto found = events.find(id);
  TORCH_CHECK(found != events.end(), "Invalid event ID: ", id);
  return found->second;
}

struct MPSHooks final : at::MPSHooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  void init() const override {}
  c10::DeviceIndex deviceCount() const override { return 1; }
  bool isPinnedPtr(const void*) const override { return false; }
  at::Device getDeviceFromPtr(void* data) const override {
    TORCH_CHECK(allocator().isSharedBuffer(data), "not an MPS buffer");
    return {c10::kMPS, 0};
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return new_generator(); }

  bool hasMPS() const override { return true; }
  bool isOnMacOSorNewer(unsigned major, unsigned) const override { return major <= 15; }
  at::Allocator* getMPSDeviceAllocator() const override { return &allocator(); }
  void deviceSynchronize() const override { queue().drain(); }
  void commitStream() const override {}
  void emptyCache() const override { allocator().emptyCache(); }
  size_t getCurrentAllocatedMemory() const override { return allocator().getCurrentAllocatedMemory(); }
  size_t getDriverAllocatedMemory() const override { return allocator().getDriverAllocatedMemory(); }
  size_t getRecommendedMaxMemory() const override { return allocator().getRecommendedMaxMemory(); }
  void setMemoryFraction(double) const override {}

  uint32_t acquireEvent(bool timing) const override {
    const std::lock_guard guard(events_mutex);
    events[++last_event].timing = timing;
    return last_event;
  }
  void releaseEvent(uint32_t id) const override {
    const std::lock_guard guard(events_mutex);
    events.erase(id);
  }
  void recordEvent(uint32_t id) const override {
    std::shared_ptr<std::atomic<bool>> passed = std::make_shared<std::atomic<bool>>(false);
    std::shared_ptr<std::chrono::steady_clock::time_point> time;
    {
      const std::lock_guard guard(events_mutex);
      Event& event = find_event(id);
      event.recorded = true;
      event.passed = passed;
      time = event.time;
    }
    queue().submit([passed, time] {
      *time = std::chrono::steady_clock::now();
      *passed = true;
    });
  }
  void waitForEvent(uint32_t) const override {}  // the queue is in order
  void synchronizeEvent(uint32_t) const override { queue().drain(); }
  bool queryEvent(uint32_t id) const override {
    queue().step();
    const std::lock_guard guard(events_mutex);
    return *find_event(id).passed;
  }
  double elapsedTimeOfEvents(uint32_t start, uint32_t end) const override {
    queue().drain();
    const std::lock_guard guard(events_mutex);
    return std::chrono::duration<double, std::milli>(*find_event(end).time - *find_event(start).time).count();
  }
};

static_assert(sizeof(MPSHooks) == sizeof(at::MPSHooksInterface));

}  // namespace

void install_hooks() { new (const_cast<at::MPSHooksInterface*>(&at::detail::getMPSHooks())) MPSHooks(); }

// The registry knows this class by its name, as it knows the real one in a torch built with MPS.
using at::MPSHooksRegistry;
using at::RegistererMPSHooksRegistry;
REGISTER_MPS_HOOKS(MPSHooks)

}  // namespace mps_simulator
