// runtime/SilentWarnings.h: torch's warnings of what is done here on purpose are kept from the user.

#pragma once

#include <c10/util/Exception.h>

namespace torchdevice {

/// As long as it lives, warnings of this thread go nowhere.
class SilentWarnings {
 private:
  struct Handler final : c10::WarningHandler {
    void process(const c10::Warning&) override {}
  };
  Handler handler_;
  c10::WarningUtils::WarningHandlerGuard guard_{&handler_};
};

}  // namespace torchdevice
