// runtime/CaptureKey.h: which threads' operators pass kCaptureKey.

#pragma once

namespace torchdevice {

/// From now on this thread's operators pass the key.
void pass_capture_key();

/// No more of them do.
void leave_capture_key();

}  // namespace torchdevice
