// hooks/Hooks.cpp: what ATen asks of CUDA: availability, generators, pinned memory, versions.

#include "hooks/Hooks.h"

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <new>
#include <optional>
#include <string>

#include "allocator/CachingAllocator.h"
#include "allocator/PinnedMemory.h"
#include "native/Backend.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"
#include "runtime/Generator.h"
#include "runtime/SharedMemory.h"
#include "runtime/Stream.h"

namespace torchdevice {

namespace {

// cuFFT's plan cache holds nothing here; its size is remembered because programs set it and read it back.
constexpr int64_t kDefaultPlanCacheSize = 4096;

std::array<std::atomic<int64_t>, kMaxDevices>& plan_cache_sizes() {
  static auto* sizes = [] {
    auto* fresh = new std::array<std::atomic<int64_t>, kMaxDevices>();
    for (auto& size : *fresh) {
      size = kDefaultPlanCacheSize;
    }
    return fresh;
  }();
  return *sizes;
}

std::atomic<int64_t>& plan_cache_size(const char* function, c10::DeviceIndex device) {
  TORCH_CHECK(device >= 0 && device < device_count(), function, ": expected 0 <= device_index < ",
              static_cast<int>(device_count()), "], but got device_index=", static_cast<int>(device));
  return plan_cache_sizes()[device];
}

struct Hooks final : at::CUDAHooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return device_count() > 0; }
  bool hasPrimaryContext(c10::DeviceIndex device) const override {
    TORCH_CHECK(device >= 0 && device < device_count(),
                "hasPrimaryContext expects a valid device index, but got device_index=", static_cast<int>(device));
    return has_context(device);
  }
  void init() const override {
    TORCH_CHECK(device_count() > 0, "No CUDA GPUs are available");
    if (note_cuda_initialized()) {
      if (const auto custom = caching_allocator().custom(); custom != nullptr && custom->init != nullptr) {
        custom->init(device_count());
      }
    }
  }

  c10::DeviceIndex deviceCount() const override { return device_count(); }
  void setCurrentDevice(c10::DeviceIndex device) const override { set_current_device(device); }
  c10::DeviceIndex getCurrentDevice() const override { return torchdevice::current_device(); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override { return exchange_device(device); }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override { return exchange_device(device); }
  c10::DeviceIndex current_device() const override { return torchdevice::current_device(); }
  int getNumGPUs() const override { return device_count(); }
  void deviceSynchronize(c10::DeviceIndex device) const override { synchronize_device(device); }

  bool isPinnedPtr(const void* data) const override { return is_pinned(data); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &host_allocator(); }
  at::Allocator* getCUDADeviceAllocator() const override { return &caching_allocator(); }
  at::Device getDeviceFromPtr(void* data) const override {
    auto owner = owner_of(data);
    if (!owner.has_value()) {
      owner = shared_owner_of(data);
    }
    TORCH_CHECK(owner.has_value(),
                "The specified pointer resides on host memory and is not registered with any CUDA device.");
    return at::Device(at::kCUDA, *owner);
  }

  const at::Generator& getDefaultGenerator(c10::DeviceIndex device) const override {
    return default_cuda_generator(device);
  }
  at::Generator getNewGenerator(c10::DeviceIndex device) const override { return make_cuda_generator(device); }

  bool hasCUDA() const override { return device_count() > 0; }
  bool hasCUDART() const override { return true; }
  // NVIDIA's libraries are not here, but what programs ask by these names is: torch lets them choose one.
  bool hasMAGMA() const override { return true; }
  bool hasCuSOLVER() const override { return true; }
  bool hasCuDNN() const override { return false; }
  bool hasCuBLASLt() const override { return true; }
  bool hasROCM() const override { return false; }
  bool hasCKSDPA() const override { return false; }
  bool hasCKGEMM() const override { return false; }
  // cuDNN's and MIOpen's kernels do not exist: true would make convolution, batch norm and RNN call them.
  bool compiledWithCuDNN() const override { return false; }
  bool compiledWithMIOpen() const override { return false; }
  bool supportsDilatedConvolutionWithCuDNN() const override { return false; }
  bool supportsDepthwiseConvolutionWithCuDNN() const override { return false; }
  bool supportsBFloat16ConvolutionWithCuDNNv8() const override { return false; }
  bool supportsBFloat16RNNWithCuDNN() const override { return false; }
  long versionCuDNN() const override { return no_cudnn(); }
  long versionRuntimeCuDNN() const override { return no_cudnn(); }
  long versionCuDNNFrontend() const override { return no_cudnn(); }
  double batchnormMinEpsilonCuDNN() const override {
    TORCH_CHECK(false, "Cannot query CUDNN_BN_MIN_EPSILON if ATen_cuda is not built with CuDNN");
  }
  long versionMIOpen() const override {
    TORCH_CHECK(false, "Cannot query MIOpen version if ATen_cuda is not built with ROCm");
  }
  long versionHipBLASLt() const override {
    TORCH_CHECK(false, "Cannot query HipBLASLt version if ATen_cuda is not built with ROCm");
  }
  long versionCUDART() const override { return cuda_release().cuda; }
  const at::cuda::NVRTC& nvrtc() const override {
    TORCH_CHECK(false, "NVRTC compiles CUDA C++ for NVIDIA GPUs, which torchdevice replaces by ",
                native_backend().host().name, "; use torch operators instead of a runtime-compiled kernel.");
  }
  std::string showConfig() const override {
    return c10::str("  - CUDA Runtime ", cuda_release().cuda_text(), " (torchdevice, native backend ",
                    native_backend().name(), ")\n");
  }

  int64_t cuFFTGetPlanCacheMaxSize(c10::DeviceIndex device) const override {
    return plan_cache_size("cufft_get_plan_cache_max_size", device);
  }
  void cuFFTSetPlanCacheMaxSize(c10::DeviceIndex device, int64_t size) const override {
    auto& limit = plan_cache_size("cufft_set_plan_cache_max_size", device);
    TORCH_CHECK(size >= 0, "cuFFT plan cache size must be non-negative, but got ", size);
    limit = size;
  }
  int64_t cuFFTGetPlanCacheSize(c10::DeviceIndex device) const override {
    plan_cache_size("cufft_get_plan_cache_size", device);
    return 0;
  }
  void cuFFTClearPlanCache(c10::DeviceIndex device) const override {
    plan_cache_size("cufft_clear_plan_cache", device);
  }

 private:
  static long no_cudnn() { TORCH_CHECK(false, "Cannot query CuDNN version if ATen_cuda is not built with CuDNN"); }
};

// Note [Hooks in place]
// torch caches its hooks object during `import torch`, so registering a class is too late. The cached object has no
// data, on a CUDA build neither, and every caller reaches it through its virtual table: constructing ours in its place
// takes over all calls, and putting its bytes back gives them back.
// See Note [Undefined on purpose] in forward/TensorAccess.h.
static_assert(sizeof(Hooks) == sizeof(at::CUDAHooksInterface) && alignof(Hooks) == alignof(at::CUDAHooksInterface));

}  // namespace

bool torch_is_cuda_build() { return at::CUDAHooksRegistry()->Has("CUDAHooks"); }

std::function<void()> install_hooks() {
  constexpr uint8_t kPriority = 1;  // above a CUDA build's own
  at::HostAllocator* allocator_before = at::getHostAllocator(at::kCUDA);
  at::setHostAllocator(at::kCUDA, &host_allocator(), kPriority);
  void* place = const_cast<at::CUDAHooksInterface*>(&at::detail::getCUDAHooks());
  std::array<std::byte, sizeof(Hooks)> hooks_before{};
  std::memcpy(hooks_before.data(), place, sizeof(Hooks));
  new (place) Hooks();
  return [=] {
    std::memcpy(place, hooks_before.data(), sizeof(Hooks));
    at::setHostAllocator(at::kCUDA, allocator_before, kPriority);
  };
}

}  // namespace torchdevice
