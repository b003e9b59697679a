// runtime/DeviceProfile.cpp: the GPU that devices present themselves as, and the CUDA release that goes with it.

#include "runtime/DeviceProfile.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "native/Backend.h"
#include "runtime/Device.h"
#include "settings/Settings.h"

namespace torchdevice {
namespace {

constexpr size_t kMib = size_t{1024} * 1024;
constexpr size_t kGib = 1024 * kMib;

/// The caching allocator's smallest segment.
constexpr size_t kLeastMemory = 2 * kMib;

// Sources: NVIDIA's data sheets and architecture white papers (SMs, L2, memory, bus; memory clocks are half the data
// rate printed there), names and the clocks of the data-centre cards as the driver reports them.
constexpr DeviceProfile kProfiles[] = {
    // Tesla V100 data sheet; "NVIDIA Tesla V100 GPU Architecture" (WP-08608)
    {"v100", "Tesla V100-SXM2-16GB", 7, 0, 80, 16 * kGib, 6 * kMib, 1'530'000, 877'000, 4096},
    // T4 data sheet; "NVIDIA Turing GPU Architecture" (WP-09183)
    {"t4", "Tesla T4", 7, 5, 40, 16 * kGib, 4 * kMib, 1'590'000, 5'001'000, 256},
    // A100 data sheet; "NVIDIA A100 Tensor Core GPU Architecture"
    {"a100", "NVIDIA A100-SXM4-80GB", 8, 0, 108, 80 * kGib, 40 * kMib, 1'410'000, 1'593'000, 5120},
    {"a100-40gb", "NVIDIA A100-SXM4-40GB", 8, 0, 108, 40 * kGib, 40 * kMib, 1'410'000, 1'215'000, 5120},
    // A10 data sheet; Amazon's A10G has more SMs enabled (as devices of G5 instances report)
    {"a10g", "NVIDIA A10G", 8, 6, 80, 24 * kGib, 6 * kMib, 1'710'000, 6'251'000, 384},
    // "NVIDIA Ampere GA102 GPU Architecture"
    {"rtx3090", "NVIDIA GeForce RTX 3090", 8, 6, 82, 24 * kGib, 6 * kMib, 1'695'000, 9'751'000, 384},
    // L4 and L40S data sheets; "NVIDIA Ada GPU Architecture"
    {"l4", "NVIDIA L4", 8, 9, 58, 24 * kGib, 48 * kMib, 2'040'000, 6'251'000, 192},
    {"l40s", "NVIDIA L40S", 8, 9, 142, 48 * kGib, 96 * kMib, 2'520'000, 9'001'000, 384},
    {"rtx4090", "NVIDIA GeForce RTX 4090", 8, 9, 128, 24 * kGib, 72 * kMib, 2'520'000, 10'501'000, 384},
    // H100 and H200 data sheets; "NVIDIA H100 Tensor Core GPU Architecture"
    {"h100", "NVIDIA H100 80GB HBM3", 9, 0, 132, 80 * kGib, 50 * kMib, 1'980'000, 2'619'000, 5120},
    {"h200", "NVIDIA H200", 9, 0, 132, 141 * kGib, 50 * kMib, 1'980'000, 3'201'000, 6144},
    // "NVIDIA RTX Blackwell GPU Architecture"
    {"rtx5090", "NVIDIA GeForce RTX 5090", 12, 0, 170, 32 * kGib, 96 * kMib, 2'407'000, 14'001'000, 512},
};

constexpr CapabilityLimits kLimits[] = {
    {50, 2048, 64, 48},   {52, 2048, 96, 48},  {53, 2048, 64, 48},   {60, 2048, 64, 48},    {61, 2048, 96, 48},
    {62, 2048, 64, 48},   {70, 2048, 96, 96},  {75, 1024, 64, 64},   {80, 2048, 164, 163},  {86, 1536, 100, 99},
    {87, 1536, 164, 163}, {89, 1536, 100, 99}, {90, 2048, 228, 227}, {100, 2048, 228, 227}, {120, 1536, 100, 99},
};

const DeviceProfile* read_profile() {
  const auto setting = read_setting("TORCHDEVICE_PROFILE");
  if (!setting) {
    return nullptr;
  }
  std::string wanted(*setting);
  std::transform(wanted.begin(), wanted.end(), wanted.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string known;
  for (const auto& profile : kProfiles) {
    if (wanted == profile.key) {
      return &profile;
    }
    known += (known.empty() ? "" : ", ") + std::string(profile.key);
  }
  TORCH_CHECK_VALUE(false, "TORCHDEVICE_PROFILE must be one of ", known, ", but it is '", *setting, "'");
}

// The wheels of torch 2.13 (pytorch/RELEASE.md, release compatibility and CUDA support matrices). The older release is
// what devices say as long as it knows their capability, as most programs have met it.
constexpr CudaRelease kCuda12 = {12060, 91002, {2, 29, 3}, "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90"};
constexpr CudaRelease kCuda13 = {13000, 92000, {2, 29, 7}, "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120"};
constexpr int kFirstMajorOfCuda13 = 10;
std::optional<CudaRelease> built_with;

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

/// Jetson's and DRIVE's chips run nothing that was compiled for another minor version.
constexpr int kIntegrated[] = {53, 62, 72, 87, 101, 110};

bool runs_on(int code, int device) {
  if (std::find(std::begin(kIntegrated), std::end(kIntegrated), device) != std::end(kIntegrated)) {
    return code == device;
  }
  return code / 10 == device / 10 && code % 10 <= device % 10;
}

}  // namespace

const DeviceProfile* device_profile() {
  static const DeviceProfile* profile = read_profile();
  return profile;
}

bool gpu_is_chosen() {
  static const bool chosen = device_profile() != nullptr || read_setting("TORCHDEVICE_CAPABILITY").has_value();
  return chosen;
}

size_t device_total_memory() {
  static const size_t total = [] {
    const size_t host = native_backend().host().total_memory;
    const auto setting = read_setting("TORCHDEVICE_MEMORY");
    if (!setting) {
      // More than the host has is what the profile is for; allocations then fail when the host has no more.
      return device_profile() != nullptr ? device_profile()->memory_bytes : host;
    }
    const auto size = parse_size(*setting);
    TORCH_CHECK_VALUE(size.has_value() && *size >= static_cast<double>(kLeastMemory),
                      "TORCHDEVICE_MEMORY must be a size of at least 2MiB, such as 8GiB, 500MB or a number of bytes, "
                      "but it is '",
                      *setting, "'");
    return *size < static_cast<double>(host) ? static_cast<size_t>(*size) : host;
  }();
  return total;
}

const CudaRelease& cuda_release() {
  if (built_with.has_value()) {
    return *built_with;
  }
  return compute_capability().first < kFirstMajorOfCuda13 ? kCuda12 : kCuda13;
}

void follow_release(int cuda, int cudnn, const std::array<int, 3>& nccl) {
  built_with = {cuda, cudnn, nccl, (cuda < kCuda13.cuda ? kCuda12 : kCuda13).architectures};
}

std::string architecture_flags() {
  const auto [major, minor] = compute_capability();
  const int device = 10 * major + minor;
  std::istringstream entries(cuda_release().architectures);
  for (std::string entry; entries >> entry;) {
    if (runs_on(std::stoi(entry.substr(entry.find('_') + 1)), device)) {
      return cuda_release().architectures;
    }
  }
  return std::string(cuda_release().architectures) + " sm_" + std::to_string(device);
}

const CapabilityLimits& capability_limits() {
  const auto [major, minor] = compute_capability();
  const auto* next =
      std::upper_bound(std::begin(kLimits), std::end(kLimits), 10 * major + minor,
                       [](int capability, const CapabilityLimits& row) { return capability < row.capability; });
  return *std::prev(next);
}

int64_t grid_threads() {
  constexpr int kA100Multiprocessors = 108;
  const DeviceProfile* profile = device_profile();
  const int64_t multiprocessors = profile ? profile->multiprocessors : kA100Multiprocessors;
  return multiprocessors * capability_limits().threads_per_multiprocessor;
}

}  // namespace torchdevice
