// runtime/Capture.h: which streams are being captured into a CUDA graph, and what CUDA forbids meanwhile.

#pragma once

#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "runtime/CaptureKey.h"
#include "runtime/Error.h"

namespace torchdevice {

// Note [Stream capture]
// As in CUDA, a capture begins on one stream; other streams join it by waiting for an event recorded on one of its
// streams, and must be joined back the same way before it ends. What CUDA forbids meanwhile fails with CUDA's error and
// invalidates the capture. What the captured work is, is not known here: csrc/graph records it, operator by operator,
// on every thread whose current stream is captured.

/// 0 is no capture.
using CaptureId = uint64_t;

/// cudaStreamCaptureMode: whose unsafe calls are errors.
enum class CaptureMode : uint8_t { kGlobal, kThreadLocal, kRelaxed };

/// The id of a capture that is to begin: who records it prepares for it first.
CaptureId new_capture();

/// Throws AcceleratorError, and begins nothing, where cudaStreamBeginCapture fails.
void begin_capture(CaptureId capture, c10::Stream stream, CaptureMode mode);

/// Throws AcceleratorError, and ends nothing, where this thread must not end the capture that began on `stream`.
void check_capture_end(c10::Stream stream);

/// Ends the capture, whoever asks, and returns what cudaStreamEndCapture would: the capture is invalid, or a stream
/// that joined it was not joined back.
CudaError end_capture(CaptureId capture);

/// The capture that `stream` takes part in, or 0. One load while nothing is captured.
CaptureId capture_of(c10::Stream stream) noexcept;

/// capture_of(current stream of `device`); `device` exists.
CaptureId current_capture(c10::DeviceIndex device) noexcept;

/// Throws c10::Error with torch's text if the current stream is captured; `attempt` says what was tried.
void assert_not_capturing(const char* attempt);

/// `stream` became this thread's current one: if it is captured, this thread's operators pass kCaptureKey from now on.
void follow_capture(c10::Stream stream);

/// Operators of this thread stop passing kCaptureKey if no capture is underway any more.
void leave_ended_captures();

/// Work was submitted to a captured stream. Throws AcceleratorError if its capture is invalid.
void note_captured_work(c10::Stream stream);

/// Run `action`, which must not ask about captures, when this one ends, valid or not; once for each `key`. Never if it
/// has ended.
void at_capture_end(CaptureId capture, const void* key, std::function<void()> action);

/// Where a captured stream stood when an event was recorded: how much work of which streams came before.
struct CapturePoint {
  CaptureId capture = 0;
  std::map<c10::StreamId, uint64_t> seen;
};

/// std::nullopt if `stream` is not captured.
std::optional<CapturePoint> capture_point(c10::Stream stream);

/// Whether the capture in which the point was taken goes on.
bool is_underway(const CapturePoint& point) noexcept;

/// `stream` waits for `point`, and so takes part in its capture.
void join_capture(c10::Stream stream, const CapturePoint& point);

/// To be called before the host waits for `stream`, or asks it: an error while it is captured.
void forbid_wait_for(c10::Stream stream, const char* function);

/// To be called before the host waits for everything.
void forbid_wait_for_device(const char* function);

/// To be called before what CUDA calls potentially unsafe during a capture.
void forbid_unsafe_call(const char* function);

}  // namespace torchdevice
