// check/Captures.h: what breaks the capture of a CUDA graph, explained.

#pragma once

#include <string>

#include "check/Findings.h"

namespace torchdevice::check {

/// `op`, or the program itself where it is empty, called `function` of the engine, which CUDA forbids meanwhile.
void report_broken_capture(const std::string& op, const std::string& function, StackId stack);

}  // namespace torchdevice::check
