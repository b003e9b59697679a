// native/cpu/Host.h: what the operating system says of the machine.

#pragma once

#include <cstddef>

#include "native/Backend.h"

namespace torchdevice {

/// Name, cores, memory, cache and clock of the machine, or of the part that a container leaves to this process.
HostFacts read_host_facts();

/// Bytes that can be had without swapping, within the container's limit.
size_t available_memory();

/// Bytes of free swap space.
size_t available_swap();

}  // namespace torchdevice
