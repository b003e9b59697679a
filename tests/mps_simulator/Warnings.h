// Warnings.h: torch's warnings, kept until somebody asks.

#pragma once

#include <c10/util/Exception.h>

#include <vector>

namespace mps_simulator {

/// As long as it lives, this thread's warnings are kept. Those that nobody takes go nowhere.
class KeptWarnings {
 public:
  std::vector<c10::Warning> take() { return std::move(handler_.kept); }

 private:
  struct Handler final : c10::WarningHandler {
    void process(const c10::Warning& warning) override { kept.push_back(warning); }
    std::vector<c10::Warning> kept;
  };
  Handler handler_;
  c10::WarningUtils::WarningHandlerGuard guard_{&handler_};
};

}  // namespace mps_simulator
