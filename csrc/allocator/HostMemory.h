// allocator/HostMemory.h: memory for what a GPU's kernel keeps in registers.

#pragma once

namespace torchdevice {

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

}  // namespace torchdevice
