// native/cpu/CpuBackend.cpp: the CPU as native backend: its memory and its random numbers.

#include "native/cpu/CpuBackend.h"

#include <ATen/CPUFunctions.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <optional>

#include "native/cpu/Host.h"
#include "runtime/Parallel.h"
#include "runtime/Philox.h"

namespace torchdevice {
namespace {

/// From this size on, ask whether the pages exist before promising them; below, the question costs more than the pages.
constexpr size_t kAskFirst = size_t{20} << 20U;

void* map_pages(size_t nbytes) noexcept {
  void* pages = mmap(nullptr, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages != MAP_FAILED ? pages : nullptr;
}

constexpr uint32_t low_word(uint64_t value) noexcept { return static_cast<uint32_t>(value); }
constexpr uint32_t high_word(uint64_t value) noexcept { return static_cast<uint32_t>(value >> 32U); }

/// The state of a Mersenne twister whose first 623 numbers are those of Philox; it goes on by itself after them.
at::mt19937_data_pod philox_state(uint64_t seed, uint64_t offset) {
  at::mt19937_data_pod state;
  state.seed_ = seed;
  state.seeded_ = true;
  state.left_ = at::MERSENNE_STATE_N;
  state.next_ = 0;
  const std::array<uint32_t, 2> key{low_word(seed), high_word(seed)};
  for (uint32_t i = 0; i < at::MERSENNE_STATE_N; i += 4) {
    const auto words = philox_4x32_10({i / 4, 0, low_word(offset), high_word(offset)}, key);
    std::copy(words.begin(), words.end(), state.state_.begin() + i);
  }
  return state;
}

/// MKL finds out which processor it runs on at its first vector function, and while it does, a second thread can see a
/// number that means its low accuracy: half a sine is then off by 1.5e-4 (pytorch/pytorch#188792). So one thread goes
/// first.
void settle_vector_functions() {
  if (at::hasMKL()) {
    at::cpu::sin(at::cpu::empty({1}, at::kFloat));
  }
}

const RegisteredBackend kCpu({
    .name = "cpu",
    .title = "CPU",
    .rank = 0,
    .is_available = [] { return true; },
    .requirement = "",
    .make = &host_backend,
    .prepare = nullptr,
});

}  // namespace

CpuBackend::CpuBackend() : host_(read_host_facts()) { settle_vector_functions(); }

void* CpuBackend::allocate_segment(size_t nbytes) noexcept {
  // The kernel promises more than it has, and kills the process that takes it at its word.
  if (nbytes >= kAskFirst && nbytes > available_memory() + available_swap()) {
    return nullptr;
  }
  const size_t mapped_size = nbytes + kSegmentAlignment;
  auto* mapped = static_cast<char*>(map_pages(mapped_size));
  if (mapped == nullptr) {
    return nullptr;
  }
  const size_t before = -reinterpret_cast<uintptr_t>(mapped) & (kSegmentAlignment - 1);
  char* segment = mapped + before;
  if (before != 0) {
    munmap(mapped, before);
  }
  if (const size_t after = mapped_size - before - nbytes; after != 0) {
    munmap(segment + nbytes, after);
  }
#if defined(MADV_HUGEPAGE)
  // The first write to 20 MiB takes 1 ms instead of 11 ms. Where huge pages are off, nothing is lost.
  madvise(segment, nbytes, MADV_HUGEPAGE);
#endif
  return segment;
}

void CpuBackend::free_segment(void* segment, size_t nbytes) noexcept { munmap(segment, nbytes); }

size_t CpuBackend::free_memory() const { return available_memory(); }

void CpuBackend::copy(void* destination, const void* source, size_t nbytes) {
  constexpr int64_t kBytesPerTask = int64_t{256} * 1024;
  parallel_for(static_cast<int64_t>(nbytes), kBytesPerTask, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(destination) + begin, static_cast<const char*>(source) + begin, end - begin);
  });
}

const at::Generator& CpuBackend::generator(uint64_t seed, uint64_t offset) {
  struct Numbers {
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>();
    at::mt19937 engine;
  };
  // Behind a pointer, as the module's thread-locals must be few.
  thread_local const auto numbers = std::make_unique<Numbers>();
  numbers->engine.set_data(philox_state(seed, offset));
  auto* native = numbers->generator.get<at::CPUGeneratorImpl>();
  native->set_engine(numbers->engine);
  native->set_next_float_normal_sample(std::nullopt);
  native->set_next_double_normal_sample(std::nullopt);
  return numbers->generator;
}

NativeBackend& host_backend() {
  static auto* const backend = new CpuBackend();
  return *backend;
}

}  // namespace torchdevice
