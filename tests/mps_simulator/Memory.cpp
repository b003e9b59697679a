// Memory.cpp: buffers whose address is a name: only the API's two calls lead to the host's address of the same pages.

#include "Memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "Queue.h"

namespace mps_simulator {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kRecommendedMemory = size_t{8} << 30U;

struct Buffer {
  void* name;   ///< what DataPtrs hold; an access faults
  void* pages;  ///< the memory
  size_t nbytes;
  size_t capacity;
  id_t id;
};

void* map(size_t nbytes, int protection) {
  void* memory = mmap(nullptr, nbytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory != MAP_FAILED ? memory : nullptr;
}

size_t capacity_for(size_t nbytes) { return (nbytes + kPage - 1) / kPage * kPage; }

void release(void* name);

class Allocator final : public at::mps::IMPSAllocator {
 public:
  c10::DataPtr allocate(size_t nbytes) override {
    if (nbytes == 0) {
      return {nullptr, nullptr, &release, c10::Device(c10::kMPS, 0)};
    }
    if (reserved_ + capacity_for(nbytes) > allowed_) {
      emptyCache({});
    }
    const std::lock_guard guard(mutex_);
    Buffer& buffer = take(nbytes);
    allocated_ += buffer.capacity;
    return {buffer.name, buffer.name, &release, c10::Device(c10::kMPS, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* dest, const void* src, size_t count) const override {
    void* to = pages_of(dest);
    const void* from = pages_of(src);
    queue().submit([=] { memcpy(to, from, count); });
  }

  /// As Metal's allocator does, at once: the queue is in order, so the next kernel may use the memory.
  void free(void* name) {
    if (name == nullptr) {
      return;
    }
    const std::lock_guard guard(mutex_);
    const auto found = live_.find(name);
    TORCH_INTERNAL_ASSERT(found != live_.end(), "freed twice, or not allocated here: ", name);
    allocated_ -= found->second.capacity;
    free_[found->second.capacity].push_back(found->second);
    live_.erase(found);
  }

  const Buffer* find(const void* name) const {
    const std::lock_guard guard(mutex_);
    const auto found = live_.find(const_cast<void*>(name));
    return found != live_.end() ? &found->second : nullptr;
  }

  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {
    // Taken first: what another thread frees after the wait may still have work before it.
    std::unordered_map<size_t, std::vector<Buffer>> idle;
    {
      const std::lock_guard guard(mutex_);
      idle.swap(free_);
    }
    queue().drain();
    for (const auto& [capacity, buffers] : idle) {
      for (const Buffer& buffer : buffers) {
        munmap(buffer.name, capacity);
        munmap(buffer.pages, capacity);
        reserved_ -= capacity;
      }
    }
  }
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return {}; }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}

  void freeInactiveBuffers() const override {}
  ssize_t getUnalignedBufferSize(const void* name) const override {
    const Buffer* buffer = find(name);
    return buffer != nullptr ? static_cast<ssize_t>(buffer->nbytes) : -1;
  }
  at::IntArrayRef getBufferShape(const void*) const override { return {}; }
  id_t getBufferId(const void* name) const override {
    const Buffer* buffer = find(name);
    return buffer != nullptr ? buffer->id : 0;
  }
  void setBufferShape(const void*, const at::IntArrayRef&) const override {}
  bool isSharedBuffer(const void* name) const override { return find(name) != nullptr; }
  c10::DataPtr allocScalarBufferWithValue(void*, size_t) const override { TORCH_CHECK(false, "not simulated"); }
  std::string formatSize(size_t size) const override { return std::to_string(size); }
  void setLowWatermarkRatio(double) const override {}
  void setHighWatermarkRatio(double ratio) const override {
    TORCH_CHECK(0 <= ratio && ratio <= 2, "invalid high watermark ratio ", ratio);
    allowed_ = ratio == 0 ? SIZE_MAX : static_cast<size_t>(ratio * static_cast<double>(kRecommendedMemory));
  }
  ssize_t getLowWatermarkValue() const override { return 0; }
  size_t getLowWatermarkLimit() const override { return 0; }
  size_t getHighWatermarkLimit() const override { return allowed_; }
  size_t getTotalAllocatedMemory() const override { return reserved_; }
  size_t getCurrentAllocatedMemory() const override { return allocated_; }
  size_t getDriverAllocatedMemory() const override { return reserved_; }
  size_t getRecommendedMaxMemory() const override { return kRecommendedMemory; }
  std::pair<const void*, uint32_t> getSharedBufferPtr(const void* name) const override {
    const Buffer* buffer = find(name);
    return buffer != nullptr ? std::pair<const void*, uint32_t>(buffer->pages, 1) : std::pair(nullptr, 0U);
  }
  c10::Storage getHostAliasStorage(const c10::Storage& storage) const override {
    const Buffer* buffer = find(storage.data());
    TORCH_CHECK(buffer != nullptr, "getHostAliasStorage: not a buffer of the MPS allocator");
    auto* owner = new c10::Storage(storage);
    return c10::Storage(
        c10::Storage::use_byte_size_t(), storage.nbytes(),
        c10::DataPtr(
            buffer->pages, owner, [](void* held) { delete static_cast<c10::Storage*>(held); }, c10::kCPU),
        nullptr, false);
  }
  bool recordEvents(c10::ArrayRef<const void*>) const override { return false; }
  bool waitForEvents(c10::ArrayRef<const void*>) const override { return false; }

 private:
  Buffer& take(size_t nbytes) {
    const size_t capacity = capacity_for(nbytes);
    auto& cached = free_[capacity];
    Buffer buffer{};
    if (!cached.empty()) {
      buffer = cached.back();
      cached.pop_back();
    } else {
      TORCH_CHECK(reserved_ + capacity <= allowed_, "MPS backend out of memory (MPS allocated: ", allocated_,
                  ", other allocations: 0, max allowed: ", allowed_, "). Tried to allocate ", capacity,
                  " on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory "
                  "allocations (may cause system failure).");
      buffer = {map(capacity, PROT_NONE), map(capacity, PROT_READ | PROT_WRITE), 0, capacity, ++last_id_};
      TORCH_CHECK(buffer.name != nullptr && buffer.pages != nullptr, "Invalid buffer size: ", capacity);
      reserved_ += capacity;
    }
    buffer.nbytes = nbytes;
    return live_.insert_or_assign(buffer.name, buffer).first->second;
  }

  mutable std::mutex mutex_;
  mutable std::atomic<size_t> allowed_{kRecommendedMemory};
  std::unordered_map<void*, Buffer> live_;
  std::unordered_map<size_t, std::vector<Buffer>> free_;
  std::atomic<size_t> allocated_{0};
  std::atomic<size_t> reserved_{0};
  id_t last_id_ = 0;
};

Allocator& the_allocator() {
  static auto* const instance = new Allocator();
  return *instance;
}

void release(void* name) { the_allocator().free(name); }

}  // namespace

at::mps::IMPSAllocator& allocator() { return the_allocator(); }

void* pages_of(const void* buffer) {
  if (buffer == nullptr) {
    return nullptr;
  }
  const Buffer* found = the_allocator().find(buffer);
  TORCH_CHECK(found != nullptr, "Placeholder storage has not been allocated on MPS device!");
  return found->pages;
}

}  // namespace mps_simulator
