// distributed/ReducerTimer.cpp: the timer of torch's reducer_cuda.cpp, which a CPU build lacks.

#include "distributed/ReducerTimer.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <torch/csrc/distributed/c10d/reducer_timer.hpp>

namespace torchdevice {
namespace {

constexpr double kNanosecondsInMillisecond = 1e6;

class ReducerTimer final : public c10d::Timer {
 public:
  explicit ReducerTimer(c10::Device device) : device_(device) {}

  void record(Event event) override {
    Timer::record(event);
    const c10::DeviceGuard guard(device_);
    at(event).record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }

  /// In nanoseconds. Unset as with CUDA: where an event is missing, or is left from the iteration before.
  std::optional<int64_t> measureDifference(Event start, Event end) override {
    const c10::DeviceGuard guard(device_);
    if (!at(start).was_marked_for_recording() || !at(end).was_marked_for_recording()) {
      return std::nullopt;
    }
    at(start).synchronize();
    at(end).synchronize();
    const double milliseconds = at(start).elapsedTime(at(end));
    if (milliseconds < 0) {
      return std::nullopt;
    }
    return static_cast<int64_t>(milliseconds * kNanosecondsInMillisecond);
  }

 private:
  static c10::Event timed() { return {c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT}; }
  c10::Event& at(Event event) { return events_[static_cast<size_t>(event)]; }

  const c10::Device device_;
  std::array<c10::Event, 5> events_{timed(), timed(), timed(), timed(), timed()};
};

}  // namespace

void install_reducer_timer() {
  const auto make = [](c10::Device device) -> std::unique_ptr<c10d::Timer> {
    return std::make_unique<ReducerTimer>(device);
  };
  c10d::TimerRegistry()->Register(c10::kCUDA, make, c10::REGISTRY_PREFERRED);  // above a CUDA build's own
}

}  // namespace torchdevice
