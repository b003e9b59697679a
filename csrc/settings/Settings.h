// settings/Settings.h: the environment variables that users set.

#pragma once

#include <optional>
#include <string_view>

namespace torchdevice {

/// The text of a setting, nullopt where it is not set or empty. `name` is a row of torchdevice/settings.py, where users
/// learn of it, too; a test compares. Nothing else in csrc reads a TORCHDEVICE variable. The text is the environment's
/// own.
std::optional<std::string_view> read_setting(const char* name);

}  // namespace torchdevice
