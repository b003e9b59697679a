// check/Captures.cpp: what breaks the capture of a CUDA graph, or its replay, explained.

#include "check/Captures.h"

#include <map>
#include <utility>

namespace torchdevice::check {
namespace {

/// What the program called, by the engine's function behind it.
std::string call_of(const std::string& function) {
  static const auto& names = *new std::map<std::string, std::string>{
      {"synchronize_device", "torch.cuda.synchronize()"},
      {"synchronize_stream", "synchronize() of a stream"},
      {"stream_is_done", "query() of a stream"},
      {"synchronize", "synchronize() of an event"},
      {"query", "query() of an event"},
  };
  const auto known = names.find(function);
  return known != names.end() ? known->second : function;
}

}  // namespace

void report_broken_capture(const std::string& op, const std::string& function, StackId stack) {
  const std::string what = op.empty() ? call_of(function) : op;
  Finding finding{"graph", {}, {}, {{what, {}, {}, stack}}};
  finding.explanation =
      what +
      " makes the host wait for a stream that is being captured into a CUDA graph, where nothing runs "
      "that could be waited for. CUDA refuses it, and the capture is lost.";
  finding.remedy =
      op.empty()
          ? "Wait before the capture begins or when it has ended; if another thread waits for other work, capture with "
            "capture_error_mode=\"thread_local\"."
          : "Keep the value on the device (torch.where in place of a branch or a mask, a fixed size in place of "
            "nonzero), "
            "or read it before the capture begins or after a replay.";
  findings().add(std::move(finding));
}

void report_freed_input(const std::string& op, const std::string& argument, StackId stack) {
  Finding finding{"lifetime", {}, {}, {{op, argument, "the graph's stream", stack}}};
  finding.explanation = "A graph replays " + op + " on memory (" + argument +
                        ") that the program has freed since the capture. On a GPU it finds what was put there since.";
  finding.remedy =
      "Keep the tensor that was captured as long as the graph, and give it new values with copy_() before a replay.";
  findings().add(std::move(finding));
}

}  // namespace torchdevice::check
