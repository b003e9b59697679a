// allocator/CpuAllocator.cpp: memory that native kernels allocate while they work for a CUDA device is that device's.

#include "allocator/CpuAllocator.h"

#include <c10/core/CPUAllocator.h>

#include "allocator/CachingAllocator.h"
#include "allocator/HostMemory.h"
#include "native/Backend.h"

namespace torchdevice {
namespace {

constinit c10::DeleterFnPtr inner_deleter = nullptr;
constinit c10::Allocator* inner_allocator = nullptr;

void free_cpu_or_cuda_memory(void* memory) {
  if (owner_of(memory).has_value()) {
    free_cuda_memory(memory);
  } else if (!native_backend().free_lent(memory)) {
    inner_deleter(memory);
  }
}

/// torch's CPU allocator as it was, except on threads that run a kernel for a CUDA device.
class CpuAllocator final : public c10::Allocator {
 public:
  explicit CpuAllocator(c10::Allocator& inner) : inner_(inner) {
    inner_deleter = inner.raw_deleter();
    inner_allocator = &inner;
  }

  c10::DataPtr allocate(size_t nbytes) override {
    if (C10_UNLIKELY(takes_host_memory())) {
      return allocate_host_memory(nbytes, inner_);
    }
    const c10::DeviceIndex device = forwarding_device();
    return device >= 0 ? caching_allocator().allocate_on(nbytes, device, c10::kCPU) : inner_.allocate(nbytes);
  }

  // For raw_deallocate, which has only the address to go by.
  c10::DeleterFnPtr raw_deleter() const override {
    return inner_deleter != nullptr ? &free_cpu_or_cuda_memory : nullptr;
  }
  bool is_simple_data_ptr(const c10::DataPtr& data) const override {
    return data.get_deleter() == &free_cuda_memory || inner_.is_simple_data_ptr(data);
  }
  void copy_data(void* dest, const void* src, size_t count) const override { inner_.copy_data(dest, src, count); }

 private:
  c10::Allocator& inner_;
};

}  // namespace

c10::Allocator& plain_cpu_allocator() { return *inner_allocator; }

std::function<void()> install_cpu_allocator() {
  // The highest priority: whoever registers an allocator later would otherwise take CUDA's memory away.
  constexpr uint8_t kPriority = 255;
  c10::Allocator* before = c10::GetCPUAllocator();
  // Leaked: memory outlives activation.
  c10::SetCPUAllocator(new CpuAllocator(*before), kPriority);
  return [before] { c10::SetCPUAllocator(before, kPriority); };
}

}  // namespace torchdevice
