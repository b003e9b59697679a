// forward/fallback/FallbackPolicy.cpp: why a call falls back to the CPU, and what the user wants to happen then.

#include "forward/fallback/FallbackPolicy.h"

#include <c10/util/Exception.h>

#include <string_view>

#include "native/Backend.h"
#include "settings/Settings.h"

namespace torchdevice::forward {
namespace {

enum class Policy : uint8_t { kAllow, kWarn, kError };

Policy policy = Policy::kAllow;

Policy policy_named(std::string_view text) {
  if (text.empty() || text == "allow") {
    return Policy::kAllow;
  }
  TORCH_CHECK_VALUE(text == "warn" || text == "error", "TORCHDEVICE_FALLBACK must be allow, warn or error, got '", text,
                    "'");
  return text == "warn" ? Policy::kWarn : Policy::kError;
}

}  // namespace

std::string describe(Obstacle obstacle) {
  const std::string backend = native_backend().title();
  switch (obstacle) {
    case Obstacle::kNone:
      return "";
    case Obstacle::kForced:
      return "TORCHDEVICE_FORCE_CPU_OPS names it";
    case Obstacle::kNoKernel:
      return backend + " has no kernel for it";
    case Obstacle::kDataType:
      return backend + " lacks one of its data types";
    case Obstacle::kRefused:
      return backend + " refused such a call";
    case Obstacle::kFailed:
      return backend + " failed where the CPU does not";
    case Obstacle::kKnownWrong:
      return backend + " is known to be wrong for such a call";
    case Obstacle::kLayout:
      return "its tensors are sparse, quantized or nested";
  }
  return "";
}

void read_fallback_policy() { policy = policy_named(read_setting("TORCHDEVICE_FALLBACK").value_or("")); }

bool fallback_is_forbidden() noexcept { return policy == Policy::kError; }

void check_fallback(const std::string& name, Obstacle obstacle) {
  TORCH_CHECK_NOT_IMPLEMENTED(policy != Policy::kError, "Could not run '", name,
                              "' with arguments from the 'CUDA' backend: ", describe(obstacle),
                              ", and TORCHDEVICE_FALLBACK=error keeps it from running on the CPU.");
}

void warn_of_fallback(const std::string& name, Obstacle obstacle) {
  if (policy == Policy::kWarn) {
    TORCH_WARN(name, " on cuda runs on the CPU: ", describe(obstacle), " (TORCHDEVICE_FALLBACK=warn)");
  }
}

}  // namespace torchdevice::forward
