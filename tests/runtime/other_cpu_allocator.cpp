// tests/runtime/other_cpu_allocator.cpp: a CPU allocator whose blocks malloc does not know, as in builds of torch for
// Linux arm64, which have mimalloc.

#include <c10/core/CPUAllocator.h>

#include <cstdint>
#include <cstdlib>

namespace {

constexpr size_t kBefore = 64;
// Where malloc looks for the size of a block: glibc reads 128 KiB, mapped, whatever the size is.
constexpr uint64_t kMisleading = (uint64_t{128} << 10U) | 2U;
int64_t blocks = 0;

void free_block(void* memory) {
  if (memory != nullptr) {
    --blocks;
    std::free(static_cast<char*>(memory) - kBefore);
  }
}

class OtherAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t nbytes) override {
    if (nbytes == 0) {
      return {nullptr, nullptr, &free_block, c10::Device(c10::DeviceType::CPU)};
    }
    auto* words = static_cast<uint64_t*>(std::aligned_alloc(kBefore, (nbytes + 2 * kBefore - 1) / kBefore * kBefore));
    for (size_t i = 0; i < kBefore / sizeof(uint64_t); ++i) {
      words[i] = kMisleading;
    }
    ++blocks;
    void* memory = reinterpret_cast<char*>(words) + kBefore;
    return {memory, memory, &free_block, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* dest, const void* src, size_t count) const override { default_copy_data(dest, src, count); }
};

}  // namespace

extern "C" {

void install_other_allocator() { c10::SetCPUAllocator(new OtherAllocator(), /*priority=*/1); }
int64_t blocks_of_other_allocator() { return blocks; }

}  // extern "C"
