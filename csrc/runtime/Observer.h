// runtime/Observer.h: who is told of streams, events, memory and replays: csrc/check, where TORCHDEVICE_CHECK asks for
// it.

#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/util/ArrayRef.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace c10 {
class OperatorHandle;
struct IValue;
}  // namespace c10

namespace torchdevice {

class Event;

/// What torch's own observers do not tell. Called on the thread on which it happens, before it has any effect on
/// others.
class Observer {
 public:
  Observer() = default;
  virtual ~Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  virtual void event_recorded(const Event* event, c10::Stream stream) = 0;
  virtual void event_awaited(const Event* event, c10::Stream stream) = 0;
  virtual void event_gone(const Event* event) noexcept = 0;

  // The host has waited, or has asked and learnt that there is nothing to wait for.
  virtual void host_waited_for(const Event* event) = 0;
  virtual void host_waited_for(c10::Stream stream) = 0;
  virtual void host_waited_for(c10::DeviceIndex device) = 0;

  /// A block of the caching allocator, for work on `stream`.
  virtual void allocated(void* memory, size_t nbytes, c10::Stream stream) = 0;
  virtual void freed(void* memory) noexcept = 0;
  virtual void used_on(const void* memory, c10::Stream stream) = 0;  ///< record_stream

  /// A kernel of `op` would fail an assertion on a GPU; the error follows.
  virtual void assertion_failed(std::string_view op, std::string_view detail) = 0;
  /// `function` of the engine was called, which CUDA forbids during a capture; the error follows.
  virtual void capture_broken(const char* function) = 0;
  virtual void capture_ended(uint64_t capture) noexcept = 0;
  /// A graph that is about to run again has an operator whose argument the program has freed since the capture.
  virtual void replays_freed(const c10::OperatorHandle& op, size_t argument) = 0;
  /// A graph runs `op` again, on the current stream of its device.
  virtual void replayed(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> arguments) = 0;
};

/// Null unless somebody observes, from activation on.
inline constinit std::atomic<Observer*> current_observer{nullptr};

/// `tell(observer)` if there is one.
template <class Tell>
void tell_observer(const Tell& tell) {
  if (Observer* one = current_observer.load(std::memory_order_acquire)) [[unlikely]] {
    tell(*one);
  }
}

}  // namespace torchdevice
