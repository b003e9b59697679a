// runtime/Event.cpp: a point in the work of a device, with the time at which it was passed.

#include "runtime/Event.h"

#include <c10/core/impl/GPUTrace.h>

#include "runtime/Error.h"
#include "runtime/LostContext.h"
#include "runtime/Observer.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

const c10::impl::PyInterpreter* tracer() { return c10::impl::GPUTrace::get_trace(); }

uintptr_t trace_id(const void* object) { return reinterpret_cast<uintptr_t>(object); }

}  // namespace

Event::Event(c10::DeviceIndex device, bool timing)
    : device_(device), timing_(timing), native_(native_backend().new_event(timing)) {
  if (const auto* trace = tracer()) {
    (*trace)->trace_gpu_event_creation(c10::kCUDA, trace_id(this));
  }
}

Event::~Event() {
  if (const auto* trace = tracer()) {
    (*trace)->trace_gpu_event_deletion(c10::kCUDA, trace_id(this));
  }
  tell_observer([this](Observer& one) { one.event_gone(this); });
}

void Event::record(c10::Stream stream) {
  check_stream(stream);
  captured_ = capture_point(stream);
  if (native_ && !captured_) {
    native_->record();
  }
  recorded_at_ = std::chrono::steady_clock::now();
  if (const auto* trace = tracer()) {
    (*trace)->trace_gpu_event_record(c10::kCUDA, trace_id(this), trace_id(stream_handle(stream)));
  }
  tell_observer([&](Observer& one) { one.event_recorded(this, stream); });
}

// See Note [Streams without queues]: later work comes after earlier work anyway.
void Event::block(c10::Stream stream) const {
  check_stream(stream);
  if (captured_) {
    join_capture(stream, *captured_);
  }
  if (const auto* trace = tracer()) {
    (*trace)->trace_gpu_event_wait(c10::kCUDA, trace_id(this), trace_id(stream_handle(stream)));
  }
  tell_observer([&](Observer& one) { one.event_awaited(this, stream); });
}

void Event::forbid_during_capture(const char* function) const {
  forbid_unsafe_call(function);
  if (captured_ && is_underway(*captured_)) {
    throw_cuda_error(CudaError::kCapturedEvent, function);
  }
}

bool Event::query() const {
  check_context();
  forbid_during_capture("query");
  if (native_ && !native_->query()) {
    return false;
  }
  tell_observer([this](Observer& one) { one.host_waited_for(this); });
  return true;
}

void Event::synchronize() const {
  check_context();
  forbid_during_capture("synchronize");
  if (const auto* trace = tracer()) {
    (*trace)->trace_gpu_event_synchronization(c10::kCUDA, trace_id(this));
  }
  if (native_) {
    native_->synchronize();
  }
  tell_observer([this](Observer& one) { one.host_waited_for(this); });
}

double Event::elapsed_ms(const Event& end) const {
  if (device_ != end.device_ || !timing_ || !end.timing_) {
    throw_cuda_error(CudaError::kInvalidResourceHandle, "elapsed_ms");
  }
  if (native_) {
    return native_->elapsed_ms(*end.native_);
  }
  return std::chrono::duration<double, std::milli>(end.recorded_at_ - recorded_at_).count();
}

}  // namespace torchdevice
