// check/Clocks.cpp: what has happened before what: vector clocks of streams, events and the host.

#include "check/Clocks.h"

#include <algorithm>

namespace torchdevice::check {
namespace {

// As in Note [Stream ids] of runtime/Stream.cpp: 1 is the default stream's other name, an even id a library's stream.
c10::StreamId canonical(c10::StreamId id) { return id == 1 ? 0 : id; }
bool is_external(c10::StreamId id) { return id != 0 && id % 2 == 0; }

}  // namespace

StreamNumber Clocks::number(c10::Stream stream) {
  const c10::StreamId id = canonical(stream.id());
  for (StreamNumber i = 1; i < streams_.size(); ++i) {
    if (streams_[i].id == id && streams_[i].device == stream.device_index()) {
      return i;
    }
  }
  streams_.push_back({stream.device_index(), id, Clock(streams_.size() + 1)});
  return static_cast<StreamNumber>(streams_.size() - 1);
}

std::string Clocks::describe(StreamNumber stream) const {
  if (stream == kHost) {
    return "the host";
  }
  const Stream& one = streams_[stream];
  const std::string device = "cuda:" + std::to_string(one.device);
  if (one.id == 0) {
    return "the default stream of " + device;
  }
  const auto is_earlier = [&](const Stream& other) { return other.device == one.device && other.id != 0; };
  const auto place = std::count_if(streams_.begin() + 1, streams_.begin() + stream + 1, is_earlier);
  return "side stream " + std::to_string(place) + " of " + device;
}

Moment Clocks::begin(StreamNumber stream) {
  Stream& one = streams_[stream];
  if (stream != kHost) {
    join(one.clock, streams_[kHost].clock);
    follow_default_stream(stream);
  }
  if (one.clock.size() <= stream) {
    one.clock.resize(stream + 1);
  }
  return ++one.clock[stream];
}

// Note [Legacy default stream]
// Streams that were made without cudaStreamNonBlocking run before and after whatever the legacy default stream runs.
// torch makes its own with that flag, so nothing orders them. Those of other libraries may be of either kind: they are
// taken for ordered, as an alarm must be sure.
void Clocks::follow_default_stream(StreamNumber stream) {
  Stream& one = streams_[stream];
  if (one.id != 0 && !is_external(one.id)) {
    return;
  }
  for (StreamNumber i = 1; i < streams_.size(); ++i) {
    const Stream& other = streams_[i];
    if (other.device == one.device && (one.id == 0 ? is_external(other.id) : other.id == 0)) {
      join(one.clock, other.clock);
    }
  }
}

uint64_t Clocks::pending() const {
  uint64_t count = 0;
  for (StreamNumber i = 1; i < streams_.size(); ++i) {
    count += known(i, i) - known(kHost, i);
  }
  return count;
}

void Clocks::record(const Event* event, StreamNumber stream) {
  begin(stream);
  events_.insert_or_assign(event, streams_[stream].clock);
}

void Clocks::wait(StreamNumber stream, const Event* event) {
  if (const auto known = events_.find(event); known != events_.end()) {
    join(streams_[stream].clock, known->second);
  }
}

void Clocks::wait(StreamNumber stream, StreamNumber other) { join(streams_[stream].clock, streams_[other].clock); }

void Clocks::host_waits(const Event* event) {
  if (const auto known = events_.find(event); known != events_.end()) {
    join(streams_[kHost].clock, known->second);
  }
}

void Clocks::host_waits(StreamNumber stream) {
  begin(stream);
  wait(kHost, stream);
}

void Clocks::host_waits_for_device(c10::DeviceIndex device) {
  for (StreamNumber i = 1; i < streams_.size(); ++i) {
    if (streams_[i].device == device) {
      wait(kHost, i);
    }
  }
}

void Clocks::assume(StreamNumber first, Moment moment, StreamNumber second) {
  Clock& clock = streams_[second].clock;
  if (clock.size() <= first) {
    clock.resize(first + 1);
  }
  clock[first] = std::max(clock[first], moment);
}

void Clocks::join(Clock& clock, const Clock& other) {
  if (clock.size() < other.size()) {
    clock.resize(other.size());
  }
  for (size_t i = 0; i < other.size(); ++i) {
    clock[i] = std::max(clock[i], other[i]);
  }
}

}  // namespace torchdevice::check
