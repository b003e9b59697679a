// distributed/Interfaces.cpp: programs for several hosts say where they are connected in NCCL's words.

#include "distributed/Interfaces.h"

#include <c10/util/Exception.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <vector>

namespace torchdevice::distributed {
namespace {

std::vector<std::string> interfaces_with_address() {
  ifaddrs* first = nullptr;
  TORCH_CHECK(getifaddrs(&first) == 0, "NCCL_SOCKET_IFNAME: cannot list the network interfaces");
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> all(first, &freeifaddrs);
  std::vector<std::string> names;
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    const bool is_up = (one->ifa_flags & static_cast<unsigned>(IFF_UP)) != 0;
    const bool has_address =
        one->ifa_addr != nullptr && (one->ifa_addr->sa_family == AF_INET || one->ifa_addr->sa_family == AF_INET6);
    if (is_up && has_address && std::find(names.begin(), names.end(), one->ifa_name) == names.end()) {
      names.emplace_back(one->ifa_name);
    }
  }
  return names;
}

/// The first of `names` that NCCL's setting NCCL_SOCKET_IFNAME lets through: prefixes between commas, or names after
/// "="; after "^" all others. NVIDIA's documentation of NCCL, "Environment Variables".
std::optional<std::string> choose_interface(const std::vector<std::string>& names, const std::string& setting) {
  const bool excludes = setting.starts_with('^');
  const bool is_exact = setting.substr(excludes ? 1 : 0).starts_with('=');
  std::vector<std::string> patterns;
  std::istringstream list(setting.substr(size_t{excludes} + size_t{is_exact}));
  for (std::string pattern; std::getline(list, pattern, ',');) {
    patterns.push_back(pattern);
  }
  const auto is_let_through = [&](const std::string& name) {
    const bool matches = std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
      return is_exact ? name == pattern : name.starts_with(pattern);
    });
    return matches != excludes;
  };
  const auto chosen = std::find_if(names.begin(), names.end(), is_let_through);
  return chosen == names.end() ? std::nullopt : std::optional(*chosen);
}

}  // namespace

std::optional<std::string> nccl_interface() {
  const char* setting = std::getenv("NCCL_SOCKET_IFNAME");
  if (setting == nullptr || *setting == '\0' || std::getenv("GLOO_SOCKET_IFNAME") != nullptr) {
    return std::nullopt;
  }
  const auto names = interfaces_with_address();
  auto chosen = choose_interface(names, setting);
  if (!chosen.has_value()) {
    std::ostringstream there;
    for (const std::string& name : names) {
      there << ' ' << name;
    }
    TORCH_CHECK(false, "NCCL_SOCKET_IFNAME=", setting,
                " lets none of this machine's network interfaces through:", there.str());
  }
  return chosen;
}

}  // namespace torchdevice::distributed
