// runtime/Device.cpp: how many CUDA devices there are and which one is current.

#include "runtime/Device.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/DeviceProfile.h"
#include "runtime/Error.h"
#include "settings/Settings.h"

namespace torchdevice {
namespace {

constexpr int kUnparsable = -1;

/// Has every data type of today's training and none of the newer generations' own kernels: the branch most tested.
constexpr std::pair<int, int> kDefaultCapability{8, 0};

/// The number a string starts with, as torch.cuda._parse_visible_devices reads it ("1gpu" is 1); -1 without one.
int leading_number(std::string_view text) {
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && blank(text.front())) {
    text.remove_prefix(1);
  }
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
  }
  int number = kUnparsable;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<std::string_view> split_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t start = 0;;) {
    const auto comma = text.find(',', start);
    parts.push_back(text.substr(start, comma - start));
    if (comma == std::string_view::npos) {
      return parts;
    }
    start = comma + 1;
  }
}

/// The one ordinal whose UUID starts with `prefix`; -1 for none or several.
int ordinal_of_uuid(std::string_view prefix, int count) {
  int match = kUnparsable;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    if (!("GPU-" + uuid_text(device_uuid(ordinal))).starts_with(prefix)) {
      continue;
    }
    if (match != kUnparsable) {
      return kUnparsable;
    }
    match = ordinal;
  }
  return match;
}

bool contains(const std::vector<int>& ordinals, int ordinal) {
  return std::find(ordinals.begin(), ordinals.end(), ordinal) != ordinals.end();
}

// The rules of CUDA's driver that torch.cuda._parse_visible_devices follows too: a repeated device empties the list,
// the first entry that is no device ends it.
std::vector<int> read_visible_devices() {
  const int count = configured_device_count();
  const char* setting = std::getenv("CUDA_VISIBLE_DEVICES");
  std::vector<int> ordinals;
  if (!setting) {
    for (int ordinal = 0; ordinal < count; ++ordinal) {
      ordinals.push_back(ordinal);
    }
    return ordinals;
  }
  const std::string_view text = setting;
  if (text.starts_with("MIG-")) {
    return {};
  }
  const bool by_uuid = text.starts_with("GPU-");
  for (const auto part : split_commas(text)) {
    if (by_uuid && !part.starts_with("GPU-")) {
      break;
    }
    const int ordinal = by_uuid ? ordinal_of_uuid(part, count) : leading_number(part);
    if (ordinal < 0) {
      break;
    }
    if (contains(ordinals, ordinal)) {
      return {};
    }
    ordinals.push_back(ordinal);
  }
  const auto absent = std::find_if(ordinals.begin(), ordinals.end(), [count](int ordinal) { return ordinal >= count; });
  ordinals.erase(absent, ordinals.end());
  return ordinals;
}

std::optional<int> read_digits(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) {
    return std::nullopt;
  }
  return number;
}

std::pair<int, int> read_capability() {
  const auto setting = read_setting("TORCHDEVICE_CAPABILITY");
  if (!setting) {
    const auto* profile = device_profile();
    return profile ? std::pair(profile->major, profile->minor) : kDefaultCapability;
  }
  const auto dot = setting->find('.');
  const auto major = read_digits(setting->substr(0, dot));
  const auto minor = dot == std::string_view::npos ? std::nullopt : read_digits(setting->substr(dot + 1));
  TORCH_CHECK_VALUE(major && minor && *major >= 5 && *major <= 99 && *minor >= 0 && *minor <= 9,
                    "TORCHDEVICE_CAPABILITY must be a compute capability from 5.0 on, but it is '", *setting, "'");
  return {*major, *minor};
}

constinit thread_local c10::DeviceIndex current = 0;
constinit std::atomic<uint64_t> contexts{0};
constinit std::atomic<bool> initialized{false};

uint64_t context_bit(c10::DeviceIndex index) { return uint64_t{1} << static_cast<unsigned>(index); }

}  // namespace

int configured_device_count() {
  static const int count = [] {
    const auto setting = read_setting("TORCHDEVICE_COUNT");
    if (!setting) {
      return 1;
    }
    const auto number = read_digits(*setting);
    TORCH_CHECK_VALUE(number && *number >= 1 && *number <= kMaxDevices,
                      "TORCHDEVICE_COUNT must be an integer from 1 to ", static_cast<int>(kMaxDevices), ", but it is '",
                      *setting, "'");
    return *number;
  }();
  return count;
}

std::pair<int, int> compute_capability() {
  static const std::pair<int, int> capability = read_capability();
  return capability;
}

void check_device_settings() {
  configured_device_count();
  device_profile();
  compute_capability();
}

const std::vector<int>& visible_devices() {
  static const auto* ordinals = new std::vector<int>(read_visible_devices());
  return *ordinals;
}

// NOLINTNEXTLINE(bugprone-exception-escape): the settings were checked at activation
c10::DeviceIndex device_count() noexcept {
  static const auto count = static_cast<c10::DeviceIndex>(visible_devices().size());
  return count;
}

std::array<uint8_t, 16> device_uuid(int ordinal) noexcept {
  std::array<uint8_t, 16> uuid{};
  std::memcpy(uuid.data(), "torchdevice", 11);
  uuid.back() = static_cast<uint8_t>(ordinal);
  return uuid;
}

std::string uuid_text(const std::array<uint8_t, 16>& uuid) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) {
      text += '-';
    }
    text += kHex[uuid[i] / 16];
    text += kHex[uuid[i] % 16];
  }
  return text;
}

c10::DeviceIndex current_device() noexcept { return current; }

void check_device(c10::DeviceIndex index) {
  if (index < 0 || index >= device_count()) {
    throw_cuda_error(CudaError::kInvalidDevice, "check_device");
  }
}

c10::DeviceIndex device_index_of(int64_t number) {
  TORCH_CHECK(std::in_range<c10::DeviceIndex>(number), "Overflow when unpacking DeviceIndex");
  return static_cast<c10::DeviceIndex>(number);
}

void set_current_device(c10::DeviceIndex index) {
  TORCH_CHECK(index >= 0, "device id must be non-negative!", static_cast<int>(index));
  if (index == current) {
    return;
  }
  check_device(index);
  current = index;
  note_context(index);
}

c10::DeviceIndex exchange_device(c10::DeviceIndex index) {
  const auto previous = current;
  if (index >= 0) {
    set_current_device(index);
  }
  return previous;
}

void restore_device(c10::DeviceIndex index) noexcept {
  if (index >= 0 && index < device_count()) {
    current = index;
  }
}

bool has_context(c10::DeviceIndex index) noexcept {
  return (contexts.load(std::memory_order_relaxed) & context_bit(index)) != 0;
}

void note_context(c10::DeviceIndex index) noexcept {
  if (!has_context(index)) {
    contexts.fetch_or(context_bit(index), std::memory_order_relaxed);
  }
}

bool cuda_is_initialized() noexcept { return initialized.load(std::memory_order_acquire); }
bool note_cuda_initialized() noexcept { return !initialized.exchange(true, std::memory_order_acq_rel); }

}  // namespace torchdevice
