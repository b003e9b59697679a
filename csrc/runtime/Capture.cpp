// runtime/Capture.cpp: which streams are being captured into a CUDA graph, and what CUDA forbids meanwhile.

#include "runtime/Capture.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/Device.h"
#include "runtime/Observer.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

/// What a stream is known by here and in a CapturePoint: streams of two devices may have the same id.
c10::StreamId key_of(c10::Stream stream) { return static_cast<c10::StreamId>(stream.hash()); }

struct Capture {
  CaptureId id;
  CaptureMode mode;
  std::thread::id thread;
  c10::Stream origin;
  bool valid = true;
  /// For each stream that takes part: the amount of work submitted to it.
  std::map<c10::StreamId, uint64_t> work;
  /// For each stream that takes part: of which work it comes after.
  std::map<c10::StreamId, std::map<c10::StreamId, uint64_t>> seen;
  std::vector<std::pair<const void*, std::function<void()>>> at_end;
};

// The captures underway; a program has one or two.
std::mutex mutex;

std::vector<std::unique_ptr<Capture>>& captures() {
  static auto* const all = new std::vector<std::unique_ptr<Capture>>();
  return *all;
}

Capture* find(c10::Stream stream) {
  for (const auto& capture : captures()) {
    if (capture->work.contains(key_of(stream))) {
      return capture.get();
    }
  }
  return nullptr;
}

Capture* find(CaptureId id) {
  for (const auto& capture : captures()) {
    if (capture->id == id) {
      return capture.get();
    }
  }
  return nullptr;
}

/// To be called without the lock, once a capture is marked as invalid.
[[noreturn]] void refuse(const char* function) {
  tell_observer([function](Observer& one) { one.capture_broken(function); });
  throw_cuda_error(CudaError::kStreamCaptureUnsupported, function);
}

/// Of the captures that `forbids` it, the first one is invalid from here on; false if there is none.
template <class Forbids>
bool invalidate_first(const Forbids& forbids) {
  const std::lock_guard guard(mutex);
  const auto broken = std::ranges::find_if(captures(), [&](const auto& capture) { return forbids(*capture); });
  if (broken == captures().end()) {
    return false;
  }
  (*broken)->valid = false;
  return true;
}

void merge(std::map<c10::StreamId, uint64_t>& into, const std::map<c10::StreamId, uint64_t>& from) {
  for (const auto& [stream, work] : from) {
    into[stream] = std::max(into[stream], work);
  }
}

}  // namespace

CaptureId new_capture() {
  static constinit std::atomic<CaptureId> last_id{0};
  return ++last_id;
}

void begin_capture(CaptureId id, c10::Stream stream, CaptureMode mode) {
  const std::lock_guard guard(mutex);
  if (stream.id() == 0 || find(stream) != nullptr) {
    throw_cuda_error(stream.id() == 0 ? CudaError::kStreamCaptureUnsupported : CudaError::kIllegalState,
                     "begin_capture");
  }
  captures().push_back(std::make_unique<Capture>(Capture{.id = id,
                                                         .mode = mode,
                                                         .thread = std::this_thread::get_id(),
                                                         .origin = stream,
                                                         .work = {{key_of(stream), 0}},
                                                         .seen = {{key_of(stream), {}}},
                                                         .at_end = {}}));
  ++captures_underway;
  pass_capture_key();
}

void check_capture_end(c10::Stream stream) {
  const std::lock_guard guard(mutex);
  const auto known = std::ranges::find_if(captures(), [&](const auto& capture) { return capture->origin == stream; });
  if (known == captures().end()) {
    throw_cuda_error(CudaError::kIllegalState, "end_capture");
  }
  if ((*known)->mode != CaptureMode::kRelaxed && (*known)->thread != std::this_thread::get_id()) {
    throw_cuda_error(CudaError::kStreamCaptureWrongThread, "end_capture");
  }
}

CudaError end_capture(CaptureId id) {
  std::unique_ptr<Capture> ended;
  {
    const std::lock_guard guard(mutex);
    const auto known = std::ranges::find_if(captures(), [&](const auto& capture) { return capture->id == id; });
    if (known == captures().end()) {
      return CudaError::kIllegalState;
    }
    for (const auto& [key, action] : (*known)->at_end) {
      action();
    }
    ended = std::move(*known);
    captures().erase(known);
    --captures_underway;
  }
  leave_capture_key();
  if (!ended->valid) {
    return CudaError::kStreamCaptureInvalidated;
  }
  const c10::StreamId origin = key_of(ended->origin);
  auto& seen = ended->seen[origin];
  for (const auto& [other, work] : ended->work) {
    if (other != origin && seen[other] < work) {
      return CudaError::kStreamCaptureUnjoined;
    }
  }
  return CudaError::kSuccess;
}

CaptureId capture_of(c10::Stream stream) noexcept {
  if (C10_LIKELY(captures_underway.load(std::memory_order_acquire) == 0)) {
    return 0;
  }
  const std::lock_guard guard(mutex);
  const Capture* capture = find(stream);
  if (capture == nullptr) {
    return 0;
  }
  return capture->id;
}

CaptureId current_capture(c10::DeviceIndex device) noexcept {
  if (C10_LIKELY(captures_underway.load(std::memory_order_acquire) == 0)) {
    return 0;
  }
  return capture_of(c10::Stream(c10::Stream::UNSAFE, c10::Device(c10::kCUDA, device), current_stream_id(device)));
}

void assert_not_capturing(const char* attempt) {
  TORCH_CHECK(current_capture(current_device()) == 0, attempt,
              " during CUDA graph capture. If you need this call to be captured, please file an issue. "
              "Current cudaStreamCaptureStatus: cudaStreamCaptureStatusActive");
}

void note_captured_work(c10::Stream stream) {
  const std::lock_guard guard(mutex);
  Capture* capture = find(stream);
  if (capture == nullptr) {
    return;
  }
  if (!capture->valid) {
    throw_cuda_error(CudaError::kStreamCaptureInvalidated, "note_captured_work");
  }
  const c10::StreamId key = key_of(stream);
  const uint64_t work = ++capture->work[key];
  capture->seen[key][key] = work;
}

void at_capture_end(CaptureId id, const void* key, std::function<void()> action) {
  const std::lock_guard guard(mutex);
  Capture* capture = find(id);
  if (capture == nullptr) {
    return;
  }
  auto& actions = capture->at_end;
  if (std::none_of(actions.begin(), actions.end(), [&](const auto& known) { return known.first == key; })) {
    actions.emplace_back(key, std::move(action));
  }
}

void follow_capture(c10::Stream stream) {
  if (capture_of(stream) != 0) {
    pass_capture_key();
  }
}

void leave_ended_captures() {
  if (captures_underway.load(std::memory_order_acquire) == 0) {
    leave_capture_key();
  }
}

std::optional<CapturePoint> capture_point(c10::Stream stream) {
  if (C10_LIKELY(captures_underway.load(std::memory_order_acquire) == 0)) {
    return std::nullopt;
  }
  const std::lock_guard guard(mutex);
  Capture* capture = find(stream);
  if (capture == nullptr) {
    return std::nullopt;
  }
  return CapturePoint{capture->id, capture->seen[key_of(stream)]};
}

bool is_underway(const CapturePoint& point) noexcept {
  if (captures_underway.load(std::memory_order_acquire) == 0) {
    return false;
  }
  const std::lock_guard guard(mutex);
  return find(point.capture) != nullptr;
}

void join_capture(c10::Stream stream, const CapturePoint& point) {
  const std::lock_guard guard(mutex);
  Capture* capture = find(point.capture);
  if (capture == nullptr) {
    return;  // it has ended, and with it the work that there was to wait for
  }
  Capture* current = find(stream);
  if (current != nullptr && current != capture) {
    capture->valid = current->valid = false;
    throw_cuda_error(CudaError::kStreamCaptureMerge, "join_capture");
  }
  if (stream.id() == 0) {
    capture->valid = false;
    throw_cuda_error(CudaError::kStreamCaptureImplicit, "join_capture");
  }
  const c10::StreamId key = key_of(stream);
  merge(capture->seen[key], point.seen);
  // To wait is work: CUDA wants the stream joined back also if it does nothing else.
  if (current == nullptr) {
    capture->seen[key][key] = capture->work[key] = 1;
  }
  if (stream.id() == current_stream_id(stream.device_index())) {
    pass_capture_key();
  }
}

void forbid_wait_for(c10::Stream stream, const char* function) {
  if (C10_LIKELY(captures_underway.load(std::memory_order_acquire) == 0)) {
    return;
  }
  if (invalidate_first([stream](const Capture& capture) { return find(stream) == &capture; })) {
    refuse(function);
  }
}

void forbid_wait_for_device(const char* function) {
  if (C10_LIKELY(captures_underway.load(std::memory_order_acquire) == 0)) {
    return;
  }
  if (invalidate_first([](const Capture& capture) {
        return capture.mode != CaptureMode::kThreadLocal || capture.thread == std::this_thread::get_id();
      })) {
    refuse(function);
  }
}

void forbid_unsafe_call(const char* function) {
  if (C10_LIKELY(captures_underway.load(std::memory_order_acquire) == 0)) {
    return;
  }
  if (invalidate_first([](const Capture& capture) {
        return capture.mode == CaptureMode::kGlobal ||
               (capture.mode == CaptureMode::kThreadLocal && capture.thread == std::this_thread::get_id());
      })) {
    refuse(function);
  }
}

}  // namespace torchdevice
