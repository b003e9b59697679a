// runtime/AllocatorSettings.cpp: what PYTORCH_CUDA_ALLOC_CONF asks of the caching allocator.

#include "runtime/AllocatorSettings.h"

#include <c10/core/AllocatorConfig.h>

#include <algorithm>
#include <bit>
#include <string>

namespace torchdevice {

using c10::CachingAllocator::AcceleratorAllocatorConfig;

constinit AllocatorSettings allocator_settings;

namespace {

/// What "per_process_memory_fraction:0.5" among other settings says; 1 without it.
double memory_fraction(const std::string& settings) {
  const c10::CachingAllocator::ConfigTokenizer tokens(settings);
  double fraction = 1.0;
  for (size_t i = 0; i + 2 < tokens.size(); ++i) {
    if (tokens[i] == "per_process_memory_fraction") {
      fraction = tokens.toDouble(i + 2);
      TORCH_CHECK_VALUE(fraction >= 0.0 && fraction <= 1.0,
                        "per_process_memory_fraction is invalid, set it in [0.0, 1.0]");
    }
  }
  return fraction;
}

void copy_settings() {
  allocator_settings.memory_fraction = memory_fraction(c10::CachingAllocator::getAllocatorSettings());
  allocator_settings.max_split_size = AcceleratorAllocatorConfig::max_split_size();
  allocator_settings.max_non_split_rounding = AcceleratorAllocatorConfig::max_non_split_rounding_size();
  allocator_settings.large_segment =
      (AcceleratorAllocatorConfig::large_segment_size() + kSegmentAlignment - 1) & ~(kSegmentAlignment - 1);
  const auto& divisions = AcceleratorAllocatorConfig::roundup_power2_divisions();
  allocator_settings.rounds_to_divisions =
      std::any_of(divisions.begin(), divisions.end(), [](size_t count) { return count > 1; });
}

}  // namespace

void follow_allocator_settings() {
  static const bool following = [] {
    // The keys that only CUDA's allocator knows. All but the memory fraction say how to deal with CUDA's driver, which
    // is not there.
    AcceleratorAllocatorConfig::getMutableKeys().insert(
        {"backend", "release_lock_on_cudamalloc", "pinned_use_cuda_host_register", "release_lock_on_hipmalloc",
         "pinned_use_hip_host_register", "graph_capture_record_stream_reuse", "pinned_reserve_segment_size_mb",
         "pinned_num_register_threads", "per_process_memory_fraction", "pinned_free_catch_all",
         "throw_on_cudamalloc_oom"});
    copy_settings();
    AcceleratorAllocatorConfig::getConfigParserHook() = [](const std::string&) { copy_settings(); };
    return true;
  }();
  static_cast<void>(following);
}

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
