// native/cpu/CpuBackend.h: the CPU as native backend.

#pragma once

#include "native/Backend.h"

namespace torchdevice {

class CpuBackend final : public NativeBackend {
 public:
  CpuBackend();

  const char* name() const override { return "cpu"; }
  const char* title() const override { return "CPU"; }
  c10::Device device() const override { return c10::kCPU; }
  c10::BackendComponent component() const override { return c10::BackendComponent::CPUBit; }

  void* allocate_segment(size_t nbytes) noexcept override;
  void free_segment(void* segment, size_t nbytes) noexcept override;
  size_t free_memory() const override;
  bool works_on_host_memory() const override { return true; }
  void copy(void* destination, const void* source, size_t nbytes) override;

  /// CPU kernels have finished when they return, so there is nothing to wait for.
  void synchronize() override {}

  const at::Generator& generator(uint64_t seed, uint64_t offset) override;

  const HostFacts& host() const override { return host_; }

 private:
  const HostFacts host_;
};

}  // namespace torchdevice
