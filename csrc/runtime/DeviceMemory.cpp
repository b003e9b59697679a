// runtime/DeviceMemory.cpp: how much memory a CUDA device has.

#include "runtime/DeviceMemory.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "native/Backend.h"
#include "runtime/Block.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{
    {"", 1},
    {"b", 1},
    {"kib", 0x1p10},
    {"mib", 0x1p20},
    {"gib", 0x1p30},
    {"tib", 0x1p40},
    {"kb", 1e3},
    {"mb", 1e6},
    {"gb", 1e9},
    {"tb", 1e12},
}};

/// "8GiB", "1.5 GB", "500000000"; upper and lower case are the same.
std::optional<double> parse_size(std::string_view text) {
  // By hand, as std::from_chars has no floating point everywhere, and strtod follows the locale.
  double number = 0;
  double place = 1;
  size_t digits = 0;
  size_t end = 0;
  for (bool fraction = false; end < text.size(); ++end) {
    const char c = text[end];
    if ('0' <= c && c <= '9') {
      number = number * 10 + (c - '0');
      place *= fraction ? 10 : 1;
      ++digits;
    } else if (c == '.' && !fraction) {
      fraction = true;
    } else {
      break;
    }
  }
  if (digits == 0) {
    return std::nullopt;
  }
  number /= place;
  std::string unit(text.substr(end));
  unit.erase(0, std::min(unit.find_first_not_of(' '), unit.size()));
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto* known = std::ranges::find(kUnits, unit, &decltype(kUnits)::value_type::first);
  return known != kUnits.end() ? std::optional(number * known->second) : std::nullopt;
}

}  // namespace

size_t device_total_memory() {
  static const size_t total = [] {
    const size_t host = native_backend().host().total_memory;
    const char* setting = std::getenv("TORCHDEVICE_MEMORY");
    if (setting == nullptr) {
      // More than the host has is what the profile is for; allocations then fail when the host has no more.
      return device_profile() != nullptr ? device_profile()->memory_bytes : host;
    }
    const auto size = parse_size(setting);
    TORCH_CHECK_VALUE(size.has_value() && *size >= static_cast<double>(kSmallSegment),
                      "TORCHDEVICE_MEMORY must be a size of at least 2MiB, such as 8GiB, 500MB or a number of bytes, "
                      "but it is '",
                      setting, "'");
    return *size < static_cast<double>(host) ? static_cast<size_t>(*size) : host;
  }();
  return total;
}

}  // namespace torchdevice
