// native/mps/MpsBackend.h: Apple's MPS as native backend, through torch's hooks: no Metal, no Objective-C.

#pragma once

#include <ATen/mps/MPSAllocatorInterface.h>

#include <atomic>

#include "native/Backend.h"

namespace torchdevice {

class CpuBackend;
class MpsMemory;

// Note [Memory of MPS]
// A CUDA storage over MPS is a buffer of torch's MPS allocator: its data pointer is the MTLBuffer, which MPS kernels
// take and nobody may dereference. The buffers are shared with the CPU, which finds them at another address
// (host_address). Results of MPS kernels are adopted as they are; results of CPU kernels are such buffers too, under
// the CPU's address until they are adopted (MpsMemory).
class MpsBackend final : public NativeBackend {
 public:
  explicit MpsBackend(CpuBackend& host);

  const char* name() const override { return "mps"; }
  const char* title() const override { return "MPS"; }
  c10::Device device() const override { return {c10::kMPS, 0}; }
  c10::BackendComponent component() const override { return c10::BackendComponent::MPSBit; }

  /// Segments are for what only the host copies to and from.
  void* allocate_segment(size_t nbytes) noexcept override;
  void free_segment(void* segment, size_t nbytes) noexcept override;
  size_t free_memory() const override;
  bool works_on_host_memory() const override { return false; }
  void copy(void* destination, const void* source, size_t nbytes) override;

  CachingAllocator* allocator() override;
  size_t buffer_size(const void* memory) const override;
  void* host_address(void* memory) override;
  c10::DataPtr from_host(c10::DataPtr&& memory, size_t nbytes) override;

  void raise_if_out_of_memory(const c10::Error& error) override;
  bool free_lent(void* memory) override;

  DtypeSet absent_dtypes() const override;
  bool is_refusal(const c10::Error& error) const override;
  bool refuses_by_size(const c10::Error& error) const override;
  std::vector<KnownWrong> known_wrong() const override;
  bool prefers_host(const std::string& name) const override;

  void synchronize() override;
  void note_submission() override { submitted_.fetch_add(1, std::memory_order_release); }
  void settle() override;
  NativeCounts counts() const override;

  std::unique_ptr<NativeEvent> new_event(bool timing) override;

  const at::Generator& generator(uint64_t seed, uint64_t offset) override;

  const HostFacts& host() const override { return facts_; }

 private:
  CpuBackend& host_;
  at::mps::IMPSAllocator& buffers_;
  MpsMemory& memory_;
  HostFacts facts_;
  // Note [Pending work]
  // Counted after each submission; `done_` is what `submitted_` was when somebody last began to wait. Whoever learnt of
  // another thread's work learnt of it after it was counted, and a wait that another thread is still in does not count.
  std::atomic<uint64_t> submitted_{0};
  std::atomic<uint64_t> done_{0};
  std::atomic<uint64_t> synchronizations_{0};
  std::atomic<uint64_t> transitions_{0};
  std::atomic<uint64_t> waited_nanoseconds_{0};
};

}  // namespace torchdevice
