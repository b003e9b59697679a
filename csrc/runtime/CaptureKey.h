// runtime/CaptureKey.h: which threads' operators pass kCaptureKey.

#pragma once

#include <c10/core/DispatchKey.h>

#include <atomic>
#include <cstddef>

namespace torchdevice {

/// Operators pass this dispatch key on threads that work on captured streams. Nobody else uses it: it is made for
/// generators of other libraries, and torch registers nothing for it.
inline constexpr c10::DispatchKey kCaptureKey = c10::DispatchKey::CustomRNGKeyId;

/// How many captures are underway, and one more if the context is lost (LostContext.h). Every kernel looks, so it is
/// here.
inline constinit std::atomic<size_t> captures_underway{0};

/// From now on this thread's operators pass the key.
void pass_capture_key();

/// No more of them do.
void leave_capture_key();

// Note [Captures that begin elsewhere]
// A thread's operators pass the key from the moment at which it comes to a captured stream. If it was there before, it
// learns of the capture in the first kernel that it reaches, and sends that operator back to pass the key. While
// nothing is captured, that costs a kernel a comparison.

/// Whether this thread is on a captured stream, and its operators have not passed the key. From now on they do.
[[gnu::cold]] bool missed_a_capture();

/// To be asked by a kernel before it does anything: true if its operator must be dispatched again, with the key.
inline bool must_pass_capture_key() {
  return captures_underway.load(std::memory_order_acquire) != 0 && missed_a_capture();
}

}  // namespace torchdevice
