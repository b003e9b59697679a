// Memory.h: buffers whose address is a name: only the API's two calls lead to the host's address of the same pages.

#pragma once

#include <ATen/mps/MPSAllocatorInterface.h>

namespace mps_simulator {

/// torch's MPS allocator, as getIMPSAllocator() hands it out.
at::mps::IMPSAllocator& allocator();

/// For the simulated GPU: where the pages of `buffer` are.
void* pages_of(const void* buffer);

}  // namespace mps_simulator
