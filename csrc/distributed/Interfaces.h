// distributed/Interfaces.h: which network interface NCCL would take.

#pragma once

#include <optional>
#include <string>

namespace torchdevice::distributed {

/// Of this machine's interfaces with an address, by the environment; none where it does not name any, and where
/// GLOO_SOCKET_IFNAME does, which gloo follows itself.
std::optional<std::string> nccl_interface();

}  // namespace torchdevice::distributed
