// check/Clocks.h: what has happened before what: vector clocks of streams, events and the host.

#pragma once

#include <c10/core/Stream.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace torchdevice {
class Event;
}

namespace torchdevice::check {

/// A stream in the order of appearance; the host is one, too, as all its threads together: what orders them (locks,
/// joins) is not seen.
using StreamNumber = uint32_t;
inline constexpr StreamNumber kHost = 0;

/// A moment of a stream: how many things it had begun.
using Moment = uint64_t;

class Clocks {
 public:
  StreamNumber number(c10::Stream stream);
  /// As the user reads it; the numbers are those of the process.
  std::string describe(StreamNumber stream) const;
  c10::DeviceIndex device_of(StreamNumber stream) const { return streams_[stream].device; }

  /// Something begins on `stream`, after all that the host has waited for.
  Moment begin(StreamNumber stream);
  /// Whether what began on `first` at `moment` is done before what begins on `second` now.
  bool ordered(StreamNumber first, Moment moment, StreamNumber second) const {
    return first == second || moment <= known(second, first) || moment <= known(kHost, first);
  }

  /// How much the host does not know to be done, of all streams together.
  uint64_t pending() const;

  void record(const Event* event, StreamNumber stream);
  void wait(StreamNumber stream, const Event* event);
  void wait(StreamNumber stream, StreamNumber other);
  void host_waits(const Event* event);
  void host_waits(StreamNumber stream);
  void host_waits_for_device(c10::DeviceIndex device);
  void forget(const Event* event) { events_.erase(event); }
  /// From here on as if `second` had waited for `moment` of `first`: a missing order is told once.
  void assume(StreamNumber first, Moment moment, StreamNumber second);

 private:
  using Clock = std::vector<Moment>;
  struct Stream {
    c10::DeviceIndex device = -1;
    c10::StreamId id = 0;
    Clock clock;
  };

  static void join(Clock& clock, const Clock& other);
  Moment known(StreamNumber who, StreamNumber whom) const {
    const Clock& clock = streams_[who].clock;
    return whom < clock.size() ? clock[whom] : 0;
  }
  /// See Note [Legacy default stream].
  void follow_default_stream(StreamNumber stream);

  std::vector<Stream> streams_{Stream{}};
  std::unordered_map<const Event*, Clock> events_;
};

}  // namespace torchdevice::check
