// settings/Settings.cpp: the environment variables that users set.

#include "settings/Settings.h"

#include <cstdlib>

namespace torchdevice {

std::optional<std::string_view> read_setting(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::optional<std::string_view>(text) : std::nullopt;
}

}  // namespace torchdevice
