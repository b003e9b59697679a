// allocator/HostMemory.h: memory for what a GPU's kernel keeps in registers.

#pragma once

#include <c10/core/Allocator.h>

#include <cstddef>

namespace torchdevice {

// Such memory is taken and given back within a call, again and again, and fresh pages cost more than what is computed
// in them. So each thread keeps up to kKeptHostMemory of what it gave back for its next requests.
inline constexpr size_t kKeptHostMemory = size_t{64} << 20U;

/// Until it is destroyed, what native kernels of this thread allocate is the host's own memory, although they work for
/// a CUDA device: no statistic counts it.
class HostMemory {
 public:
  HostMemory() noexcept;
  ~HostMemory();
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

 private:
  bool before_;
};

bool takes_host_memory() noexcept;

/// Memory of `allocator`, torch's own, or what the thread has kept of it.
c10::DataPtr allocate_host_memory(size_t nbytes, c10::Allocator& allocator);

}  // namespace torchdevice
