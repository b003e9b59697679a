// allocator/AllocatorSettings.h: what PYTORCH_CUDA_ALLOC_CONF asks of the caching allocator.

#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <limits>

#include "allocator/Block.h"

namespace torchdevice {

/// A copy of c10's AcceleratorAllocatorConfig in the shape that the allocator's hot path reads.
struct AllocatorSettings {
  std::atomic<size_t> max_split_size{std::numeric_limits<size_t>::max()};
  std::atomic<size_t> max_non_split_rounding{kLargeSegment};
  std::atomic<size_t> large_segment{kLargeSegment};
  std::atomic<double> memory_fraction{1.0};  ///< of the device's memory that the process may take
  std::atomic<double> gc_threshold{0.0};     ///< of that, above which free large blocks are given back; 0: never
  std::atomic<bool> throw_on_malloc_oom{false};
  std::atomic<bool> rounds_to_divisions{false};  ///< roundup_power2_divisions is set for some size
};

extern constinit AllocatorSettings allocator_settings;

/// The settings that only CUDA's allocator knows; those without a use here are only remembered.
struct CudaSettings {
  double memory_fraction = 1.0;
  size_t pinned_num_register_threads = 1;
  bool release_lock_on_malloc = false;
  bool pinned_use_host_register = false;
  bool graph_capture_record_stream_reuse = false;
  bool throw_on_malloc_oom = false;
};
CudaSettings cuda_settings();

/// Tells c10 of CUDA's keys, at activation, before anything reads settings; returns what takes them back.
std::function<void()> install_allocator_settings();

/// Reads the settings the first time it is called, and from then on follows every change of them. Throws ValueError for
/// settings that torch refuses.
void follow_allocator_settings();

/// Bytes that CUDA accounts for a request of at least one byte: a multiple of 512, or of a fraction of a power of two
/// where that is asked.
size_t round_to_divisions(size_t nbytes);

inline size_t round_size(size_t nbytes) {
  if (allocator_settings.rounds_to_divisions.load(std::memory_order_relaxed)) [[unlikely]] {
    return round_to_divisions(nbytes);
  }
  return ((nbytes - 1) | (kMinBlockSize - 1)) + 1;
}

}  // namespace torchdevice
