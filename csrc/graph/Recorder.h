// graph/Recorder.h: leads the operators that run on captured streams to the recording of their capture.

#pragma once

#include <memory>

#include "graph/Recording.h"
#include "runtime/Capture.h"

namespace torchdevice::graph {

/// From here on operators on the streams of `capture` are recorded in `recording`. Threads that are about to run one
/// hold it too, so it outlives its graph if need be.
void start_recording(CaptureId capture, std::shared_ptr<Recording> recording);
void stop_recording(CaptureId capture);

}  // namespace torchdevice::graph
