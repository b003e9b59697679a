// forward/fallback/Composed.cpp: kernels composed of other operators, for what the native backend lacks.

#include "forward/fallback/Composed.h"

#include <unordered_set>

#include "forward/Masquerade.h"
#include "forward/fallback/Forced.h"
#include "forward/fallback/NativeKernels.h"

namespace torchdevice::forward {
namespace {

std::unordered_set<c10::OperatorName>& composed_names() {
  static auto* const names = new std::unordered_set<c10::OperatorName>();
  return *names;
}

}  // namespace

bool must_be_composed(const char* name, const char* overload) {
  if (!has_fallback() || is_forced_to_host(full_name(name, overload)) ||
      (has_native_kernel(name, overload) && !delegates_to_out(name, overload))) {
    return false;
  }
  composed_names().emplace(name, overload);
  return true;
}

bool is_composed(const c10::OperatorName& name) { return composed_names().contains(name); }

}  // namespace torchdevice::forward
