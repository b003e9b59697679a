// runtime/CaptureKey.cpp: which threads' operators pass kCaptureKey.

#include "runtime/CaptureKey.h"

#include <ATen/record_function.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "runtime/Capture.h"
#include "runtime/Device.h"
#include "runtime/LostContext.h"

namespace torchdevice {
namespace {

// Note [Compiled functions in a capture]
// Before dynamo runs what it compiled it compares the dispatch keys of the arguments, with those that the thread adds,
// to what they were. On a GPU a capture adds none, so meanwhile ours is not there. Dynamo tells torch's profilers when
// it looks, and a thread's observers hear that; this one observes only threads that pass the key.

constexpr std::string_view kGuards = "TorchDynamo Cache Lookup";

struct Hidden final : at::ObserverContext {
  ~Hidden() override { c10::impl::tls_set_dispatch_key_included(kCaptureKey, true); }
};

std::unique_ptr<at::ObserverContext> hide_from_guards(const at::RecordFunction& function) {
  if (function.name() != kGuards || !c10::impl::tls_is_dispatch_key_included(kCaptureKey)) {
    return nullptr;
  }
  c10::impl::tls_set_dispatch_key_included(kCaptureKey, false);
  return std::make_unique<Hidden>();
}

thread_local at::CallbackHandle observer = at::INVALID_CALLBACK_HANDLE;

/// Whoever restores a thread's state, as the backward pass does, takes away what was added since it was kept.
bool observes() {
  const auto& callbacks = at::get_record_function_tls_().sorted_tls_callbacks_;
  return std::any_of(callbacks.begin(), callbacks.end(), [](const auto& entry) { return entry.handle_ == observer; });
}

}  // namespace

void pass_capture_key() {
  c10::impl::tls_set_dispatch_key_included(kCaptureKey, true);
  if (!observes()) {
    observer =
        at::addThreadLocalCallback(at::RecordFunctionCallback(&hide_from_guards).scopes({at::RecordScope::FUNCTION}));
  }
}

void leave_capture_key() {
  c10::impl::tls_set_dispatch_key_included(kCaptureKey, false);
  if (observes()) {
    at::removeCallback(observer);
  }
  observer = at::INVALID_CALLBACK_HANDLE;
}

bool missed_a_capture() {
  check_context();
  // Where the key is excluded the recorder runs what it records.
  if (c10::impl::tls_is_dispatch_key_included(kCaptureKey) || c10::impl::tls_is_dispatch_key_excluded(kCaptureKey)) {
    return false;
  }
  for (c10::DeviceIndex device = 0; device < device_count(); ++device) {
    if (current_capture(device) != 0) {
      pass_capture_key();
      return true;
    }
  }
  return false;
}

}  // namespace torchdevice
