// forward/checks/Strictness.cpp: TORCHDEVICE_STRICT: what becomes of calls that a GPU refuses.

#include "forward/checks/Strictness.h"

#include <c10/util/Exception.h>

#include <string_view>

#include "settings/Settings.h"

namespace torchdevice::forward {
namespace {

Strictness current = Strictness::kAsCuda;

}  // namespace

void read_strictness() {
  const std::string_view text = read_setting("TORCHDEVICE_STRICT").value_or("1");
  TORCH_CHECK_VALUE(text == "0" || text == "1" || text == "2", "TORCHDEVICE_STRICT must be 0, 1 or 2, got '", text,
                    "'");
  current = static_cast<Strictness>(text.front() - '0');
}

Strictness strictness() noexcept { return current; }

}  // namespace torchdevice::forward
