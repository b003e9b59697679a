// native/dry/DryBackend.h: the backend of a dry run.

#pragma once

#include "native/Backend.h"

namespace torchdevice {

/// What a device has where neither a profile nor TORCHDEVICE_MEMORY says it: 64 of them are half of an address space.
inline constexpr size_t kDryMemory = size_t{1} << 40U;

class DryBackend final : public NativeBackend {
 public:
  DryBackend();

  const char* name() const override { return "dry"; }
  const char* title() const override { return "a dry run"; }
  c10::Device device() const override { return c10::kCPU; }
  c10::BackendComponent component() const override { return c10::BackendComponent::CPUBit; }

  void* allocate_segment(size_t nbytes) noexcept override;
  void free_segment(void* segment, size_t nbytes) noexcept override;
  size_t free_memory() const override { return kDryMemory; }
  bool works_on_host_memory() const override { return true; }
  void copy(void* /*destination*/, const void* /*source*/, size_t /*nbytes*/) override {}

  void synchronize() override {}

  const at::Generator& generator(uint64_t seed, uint64_t offset) override {
    return host_backend().generator(seed, offset);
  }

  const HostFacts& host() const override { return host_; }

 private:
  const HostFacts host_;
};

}  // namespace torchdevice
