// graph/Recorder.h: leads the operators that run on captured streams to the recording of their capture.

#pragma once

#include "graph/Recording.h"
#include "runtime/Capture.h"

namespace torchdevice::graph {

/// From here on operators on the streams of `capture` are recorded in `recording`, which must outlive the capture.
void start_recording(CaptureId capture, Recording& recording);
void stop_recording(CaptureId capture);

}  // namespace torchdevice::graph
