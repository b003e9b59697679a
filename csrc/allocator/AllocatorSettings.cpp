// allocator/AllocatorSettings.cpp: what PYTORCH_CUDA_ALLOC_CONF asks of the caching allocator.

#include "allocator/AllocatorSettings.h"

#include <c10/core/AllocatorConfig.h>

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

namespace torchdevice {

using c10::CachingAllocator::AcceleratorAllocatorConfig;

constinit AllocatorSettings allocator_settings;

namespace {

/// The keys that only CUDA's allocator knows, as c10/cuda/CUDAAllocatorConfig.cpp reads them: the rest was checked by
/// c10.
CudaSettings parse_cuda_settings(const std::string& text) {
  constexpr size_t kMaxRegisterThreads = 128;
  const c10::CachingAllocator::ConfigTokenizer tokens(text);
  CudaSettings settings;
  size_t i = 0;
  while (i < tokens.size()) {
    const std::string& key = tokens[i];
    if (key == "backend") {
      i += 2;
      TORCH_CHECK_VALUE(tokens[i] == "native" || tokens[i] == "cudaMallocAsync",
                        "Unknown allocator backend, options are native and cudaMallocAsync");
      if (tokens[i] != "native") {
        TORCH_WARN_ONCE("torchdevice has no cudaMallocAsync; memory is managed by the native allocator");
      }
    } else if (key == "release_lock_on_cudamalloc" || key == "release_lock_on_hipmalloc") {
      settings.release_lock_on_malloc = tokens.toBool(i += 2);
    } else if (key == "pinned_use_cuda_host_register" || key == "pinned_use_hip_host_register") {
      settings.pinned_use_host_register = tokens.toBool(i += 2);
    } else if (key == "graph_capture_record_stream_reuse") {
      settings.graph_capture_record_stream_reuse = tokens.toBool(i += 2);
    } else if (key == "pinned_free_catch_all") {
      tokens.toBool(i += 2);
    } else if (key == "throw_on_cudamalloc_oom") {
      settings.throw_on_malloc_oom = tokens.toBool(i += 2);
    } else if (key == "pinned_num_register_threads") {
      const size_t threads = tokens.toSizeT(i += 2);
      TORCH_CHECK_VALUE(std::has_single_bit(threads), "Number of register threads has to be power of 2, got ", threads);
      TORCH_CHECK_VALUE(threads <= kMaxRegisterThreads, "Number of register threads should be less than or equal to ",
                        kMaxRegisterThreads, ", got ", threads);
      settings.pinned_num_register_threads = threads;
    } else if (key == "pinned_reserve_segment_size_mb") {
      const size_t megabytes = tokens.toSizeT(i += 2);
      TORCH_CHECK_VALUE(megabytes > 0, "Pinned reserve segment size has to be greater than 0");
    } else if (key == "per_process_memory_fraction") {
      settings.memory_fraction = tokens.toDouble(i += 2);
      TORCH_CHECK_VALUE(settings.memory_fraction >= 0.0 && settings.memory_fraction <= 1.0,
                        "per_process_memory_fraction is invalid, set it in [0.0, 1.0]");
    } else {
      i = tokens.skipKey(i);
    }
    i += 2;  // past the value and the comma
  }
  return settings;
}

void copy_settings(const std::string& text) {
  const CudaSettings cuda = parse_cuda_settings(text);
  allocator_settings.memory_fraction = cuda.memory_fraction;
  allocator_settings.throw_on_malloc_oom = cuda.throw_on_malloc_oom;
  allocator_settings.gc_threshold = AcceleratorAllocatorConfig::garbage_collection_threshold();
  allocator_settings.max_split_size = AcceleratorAllocatorConfig::max_split_size();
  allocator_settings.max_non_split_rounding = AcceleratorAllocatorConfig::max_non_split_rounding_size();
  allocator_settings.large_segment =
      (AcceleratorAllocatorConfig::large_segment_size() + kSegmentAlignment - 1) & ~(kSegmentAlignment - 1);
  const auto& divisions = AcceleratorAllocatorConfig::roundup_power2_divisions();
  allocator_settings.rounds_to_divisions =
      std::any_of(divisions.begin(), divisions.end(), [](size_t count) { return count > 1; });
}

}  // namespace

std::function<void()> install_allocator_settings() {
  // All but the memory fraction and throw_on_cudamalloc_oom say how to deal with CUDA's driver, which is not there.
  auto& keys = AcceleratorAllocatorConfig::getMutableKeys();
  const auto keys_before = keys;
  keys.insert({"backend", "release_lock_on_cudamalloc", "pinned_use_cuda_host_register", "release_lock_on_hipmalloc",
               "pinned_use_hip_host_register", "graph_capture_record_stream_reuse", "pinned_reserve_segment_size_mb",
               "pinned_num_register_threads", "per_process_memory_fraction", "pinned_free_catch_all",
               "throw_on_cudamalloc_oom"});
  auto& parser = AcceleratorAllocatorConfig::getConfigParserHook();
  return [&keys, keys_before, &parser, parser_before = std::exchange(parser, copy_settings)] {
    keys = keys_before;
    parser = parser_before;
  };
}

void follow_allocator_settings() {
  static const bool following = [] {
    copy_settings(c10::CachingAllocator::getAllocatorSettings());
    return true;
  }();
  static_cast<void>(following);
}

CudaSettings cuda_settings() { return parse_cuda_settings(c10::CachingAllocator::getAllocatorSettings()); }

size_t round_to_divisions(size_t nbytes) {
  const size_t divisions = AcceleratorAllocatorConfig::roundup_power2_divisions(nbytes);
  if (divisions <= 1 || nbytes <= kMinBlockSize * divisions) {
    return ((nbytes - 1) | (kMinBlockSize - 1)) + 1;
  }
  if (std::has_single_bit(nbytes)) {
    return nbytes;
  }
  const size_t step = std::bit_floor(nbytes) / std::bit_floor(divisions);
  return (nbytes + step - 1) & ~(step - 1);
}

}  // namespace torchdevice
