// native/mps/MpsBackend.cpp: Apple's MPS as native backend, through torch's hooks: no Metal, no Objective-C.

#include "native/mps/MpsBackend.h"

#include <ATen/detail/MPSHooksInterface.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <unordered_set>

#include "native/cpu/CpuBackend.h"
#include "native/cpu/Host.h"
#include "native/mps/KnownWrong.h"
#include "native/mps/MpsMemory.h"
#include "native/mps/MpsProxy.h"
#include "native/mps/Refusal.h"

namespace torchdevice {
namespace {

/// Metal has neither 64-bit nor 8-bit floating-point numbers, and torch's kernels no unsigned integers but bytes.
constexpr DtypeSet kAbsent =
    dtype_set({c10::kDouble, c10::kComplexDouble, c10::kComplexHalf, c10::kFloat8_e4m3fn, c10::kFloat8_e4m3fnuz,
               c10::kFloat8_e5m2, c10::kFloat8_e5m2fnuz, c10::kFloat8_e8m0fnu, c10::kFloat4_e2m1fn_x2, c10::kUInt16,
               c10::kUInt32, c10::kUInt64, c10::kQInt8, c10::kQUInt8, c10::kQInt32});

at::mps::IMPSAllocator& mps_allocator() {
  // torch's hooks hand out its one allocator, which has the public interface.
  return *static_cast<at::mps::IMPSAllocator*>(at::detail::getMPSHooks().getMPSDeviceAllocator());
}

class MpsEvent final : public NativeEvent {
 public:
  explicit MpsEvent(bool timing) : id_(hooks().acquireEvent(timing)) {}
  ~MpsEvent() override { hooks().releaseEvent(id_); }
  MpsEvent(const MpsEvent&) = delete;
  MpsEvent& operator=(const MpsEvent&) = delete;

  void record() override {
    hooks().recordEvent(id_);
    recorded_ = true;
  }
  bool query() override { return !recorded_ || hooks().queryEvent(id_); }
  void synchronize() override {
    if (recorded_) {
      hooks().synchronizeEvent(id_);
    }
  }
  double elapsed_ms(NativeEvent& end) override {
    return hooks().elapsedTimeOfEvents(id_, static_cast<MpsEvent&>(end).id_);
  }

 private:
  static const at::MPSHooksInterface& hooks() { return at::detail::getMPSHooks(); }

  const uint32_t id_;
  bool recorded_ = false;
};

bool torch_has_mps() { return at::detail::getMPSHooks().hasMPS(); }

NativeBackend& make_backend() { return *new MpsBackend(static_cast<CpuBackend&>(host_backend())); }

const RegisteredBackend kMps({
    .name = "mps",
    .title = "MPS",
    .rank = 1,
    .is_available = &torch_has_mps,
    .requirement = "a Mac with Apple silicon, macOS 14 and torch's macOS wheel",
    .make = &make_backend,
    .prepare = &install_mps_proxy,
});

}  // namespace

MpsBackend::MpsBackend(CpuBackend& host)
    : host_(host), buffers_(mps_allocator()), memory_(*new MpsMemory(buffers_)), facts_(host.host()) {
  if (const size_t limit = buffers_.getRecommendedMaxMemory(); limit > 0) {
    facts_.total_memory = std::min(facts_.total_memory, limit);
  }
}

void* MpsBackend::allocate_segment(size_t nbytes) noexcept { return host_.allocate_segment(nbytes); }
void MpsBackend::free_segment(void* segment, size_t nbytes) noexcept { host_.free_segment(segment, nbytes); }

size_t MpsBackend::free_memory() const {
  const size_t taken = buffers_.getDriverAllocatedMemory();
  return std::min(available_memory(), facts_.total_memory - std::min(taken, facts_.total_memory));
}

void MpsBackend::copy(void* destination, const void* source, size_t nbytes) {
  settle();
  std::memcpy(host_address(destination), host_address(const_cast<void*>(source)), nbytes);
}

CachingAllocator* MpsBackend::allocator() { return &memory_; }

size_t MpsBackend::buffer_size(const void* memory) const {
  return memory != nullptr ? static_cast<size_t>(std::max<ssize_t>(0, buffers_.getUnalignedBufferSize(memory))) : 0;
}

void* MpsBackend::host_address(void* memory) {
  if (memory == nullptr) {
    return nullptr;
  }
  const void* shared = buffers_.getSharedBufferPtr(memory).first;
  return shared != nullptr ? const_cast<void*>(shared) : memory;  // else it is the host's own memory
}

c10::DataPtr MpsBackend::from_host(c10::DataPtr&& memory, size_t nbytes) {
  return memory_.from_host(std::move(memory), nbytes);
}

void MpsBackend::raise_if_out_of_memory(const c10::Error& error) { memory_.raise_if_out_of_memory(error); }

bool MpsBackend::free_lent(void* memory) { return memory_.free_host_memory(memory); }

DtypeSet MpsBackend::absent_dtypes() const { return kAbsent; }

bool MpsBackend::is_refusal(const c10::Error& error) const { return is_mps_refusal(error); }

bool MpsBackend::refuses_by_size(const c10::Error& error) const { return is_mps_refusal_by_size(error); }

std::vector<KnownWrong> MpsBackend::known_wrong() const { return mps_known_wrong(facts_.name); }

/// torch registers kernels for MPS that copy to the CPU and back; ours does without the copies. And one in Python that
/// leaves an empty `out` as it is (torch/_refs/linalg).
bool MpsBackend::prefers_host(const std::string& name) const {
  static const auto* names = new std::unordered_set<std::string>{
      "aten::_slow_conv2d_forward", "aten::col2im",       "aten::embedding_renorm_",      "aten::linalg_lu_solve.out",
      "aten::linalg_svd",           "aten::linalg_svd.U", "aten::upsample_nearest3d.vec",
  };
  return names->contains(name);
}

void MpsBackend::synchronize() {
  const uint64_t before = submitted_.load(std::memory_order_acquire);
  const auto start = std::chrono::steady_clock::now();
  at::detail::getMPSHooks().deviceSynchronize();
  const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - start;
  waited_nanoseconds_.fetch_add(static_cast<uint64_t>(waited.count()), std::memory_order_relaxed);
  synchronizations_.fetch_add(1, std::memory_order_relaxed);
  uint64_t done = done_.load(std::memory_order_relaxed);
  while (done < before && !done_.compare_exchange_weak(done, before, std::memory_order_release)) {
  }
}

void MpsBackend::settle() {
  if (submitted_.load(std::memory_order_acquire) != done_.load(std::memory_order_acquire)) {
    transitions_.fetch_add(1, std::memory_order_relaxed);
    synchronize();
  }
}

NativeCounts MpsBackend::counts() const {
  return {
      .synchronizations = synchronizations_.load(),
      .transitions = transitions_.load(),
      .waited_nanoseconds = waited_nanoseconds_.load(),
      .copied_bytes = memory_.copied_bytes(),
  };
}

std::unique_ptr<NativeEvent> MpsBackend::new_event(bool timing) { return std::make_unique<MpsEvent>(timing); }

const at::Generator& MpsBackend::generator(uint64_t seed, uint64_t offset) {
  thread_local const auto native = std::make_unique<at::Generator>(at::detail::getMPSHooks().getNewGenerator(0));
  native->set_current_seed(seed);
  native->set_offset(offset);
  return *native;
}

}  // namespace torchdevice
