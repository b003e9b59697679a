// runtime/Event.h: a point in the work of a device, with the time at which it was passed.

#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <chrono>
#include <memory>
#include <optional>

#include "native/Backend.h"
#include "runtime/Capture.h"

namespace torchdevice {

/// What c10::Event's void* points to for CUDA; made by the first record.
class Event {
 public:
  Event(c10::DeviceIndex device, bool timing);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  /// Move the event to the end of what was submitted so far. `stream` is on the event's device.
  void record(c10::Stream stream);

  /// Make later work of `stream` come after the event.
  void block(c10::Stream stream) const;

  /// Whether the work before the event is done.
  bool query() const;
  void synchronize() const;

  /// Milliseconds from this event to `end`; both were recorded with timing.
  double elapsed_ms(const Event& end) const;

  c10::DeviceIndex device() const { return device_; }

 private:
  /// To be called before the host asks or waits for the event.
  void forbid_during_capture(const char* function) const;

  const c10::DeviceIndex device_;
  const bool timing_;
  const std::unique_ptr<NativeEvent> native_;  ///< null where the host's clock will do
  std::chrono::steady_clock::time_point recorded_at_;
  std::optional<CapturePoint> captured_;  ///< if the stream that it was last recorded on was captured
};

}  // namespace torchdevice
