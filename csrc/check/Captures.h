// check/Captures.h: what breaks the capture of a CUDA graph, or its replay, explained.

#pragma once

#include <string>

#include "check/Findings.h"

namespace torchdevice::check {

/// `op`, or the program itself where it is empty, called `function` of the engine, which CUDA forbids meanwhile.
void report_broken_capture(const std::string& op, const std::string& function, StackId stack);

/// A graph runs `op` again, whose `argument` the program has freed since the capture.
void report_freed_input(const std::string& op, const std::string& argument, StackId stack);

}  // namespace torchdevice::check
