// distributed/Interfaces.h: which network interface NCCL would take.

#pragma once

#include <optional>
#include <string>
#include <vector>

namespace torchdevice::distributed {

/// The first of `names` that NCCL's setting NCCL_SOCKET_IFNAME lets through: prefixes between commas, or names after
/// "="; after "^" all others. NVIDIA's documentation of NCCL, "Environment Variables".
std::optional<std::string> choose_interface(const std::vector<std::string>& names, const std::string& setting);

/// Of this machine's interfaces with an address, by the environment; none where it does not name any, and where
/// GLOO_SOCKET_IFNAME does, which gloo follows itself.
std::optional<std::string> nccl_interface();

}  // namespace torchdevice::distributed
