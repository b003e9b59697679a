// runtime/Stream.cpp: CUDA streams: who they are and which one is current.

#include "runtime/Stream.h"

#include <c10/core/impl/GPUTrace.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "native/Backend.h"
#include "runtime/Capture.h"
#include "runtime/Device.h"
#include "runtime/LostContext.h"
#include "runtime/Observer.h"

namespace torchdevice {
namespace {

constexpr unsigned kStreamsPerPool = 32;
constexpr int kPriorities = 4;

// Note [Stream ids]
// As in a CUDA build: 0 is the default stream; an even id is an external stream's handle; an odd one is
// (index in pool << 5) | ((1 - priority) << 1) | 1. torch prints and pickles ids, and external handles must fit. 1 is
// what CUDA calls cudaStreamLegacy: the default stream by another name.
constexpr unsigned kIndexShift = 5;
constexpr uint64_t kKindMask = 0xF;

/// An address of its own, which serves as the stream's native handle.
struct alignas(16) PoolStream {
  char unused;
};

using Pool = std::array<std::array<PoolStream, kStreamsPerPool>, kPriorities>;
std::array<Pool, kMaxDevices> pools;
std::array<std::array<std::atomic<uint32_t>, kPriorities>, kMaxDevices> next_in_pool;

// Made by a thread's first change of stream: small thread-local data lets the module use the static TLS block.
using StreamIds = std::array<c10::StreamId, kMaxDevices>;
constinit thread_local std::unique_ptr<StreamIds> current_ids;
constinit std::atomic<SyncDebugMode> debug_mode{SyncDebugMode::kOff};

constexpr c10::StreamId kLegacy = 1;

bool is_default(c10::StreamId id) { return id == 0 || id == kLegacy; }

bool is_external(c10::StreamId id) { return id != 0 && id % 2 == 0; }

int kind_of(c10::StreamId id) { return static_cast<int>(static_cast<uint64_t>(id) / 2 & kKindMask); }

size_t pool_index(c10::StreamId id) { return static_cast<uint64_t>(id) >> kIndexShift & (kStreamsPerPool - 1); }

c10::StreamId pool_stream_id(uint64_t index, int level) {
  const auto kind = static_cast<uint64_t>(level) + 1;
  return static_cast<c10::StreamId>((index << kIndexShift) + 2 * kind + 1);
}

c10::Stream make_stream(c10::DeviceIndex device, c10::StreamId id) {
  return c10::Stream(c10::Stream::UNSAFE, c10::Device(c10::kCUDA, device), id);
}

c10::DeviceIndex checked(c10::DeviceIndex device) {
  const auto index = resolve_device(device);
  TORCH_CHECK(index >= 0 && index < device_count(), "Device index value ", static_cast<int>(index),
              " is out of index range [0, ", static_cast<int>(device_count()), ")");
  return index;
}

void trace_pool_creation(c10::DeviceIndex device) {
  const auto* interpreter = c10::impl::GPUTrace::get_trace();
  if (!interpreter) {
    return;
  }
  static constinit std::atomic<uint64_t> traced{0};
  const auto bit = uint64_t{1} << static_cast<unsigned>(device);
  if (traced.fetch_or(bit) & bit) {
    return;
  }
  for (const auto& streams : pools[device]) {
    for (const auto& stream : streams) {
      (*interpreter)->trace_gpu_stream_creation(c10::kCUDA, reinterpret_cast<uintptr_t>(&stream));
    }
  }
}

}  // namespace

c10::Stream default_stream(c10::DeviceIndex device) { return make_stream(checked(device), 0); }

c10::StreamId current_stream_id(c10::DeviceIndex device) noexcept { return current_ids ? (*current_ids)[device] : 0; }

c10::Stream current_stream(c10::DeviceIndex device) {
  const auto index = checked(device);
  return make_stream(index, current_stream_id(index));
}

c10::Stream exchange_stream(c10::Stream stream) {
  const auto previous = current_stream(stream.device_index());
  if (!current_ids) {
    current_ids = std::make_unique<StreamIds>();
  }
  (*current_ids)[previous.device_index()] = stream.id();
  follow_capture(stream);
  return previous;
}

c10::Stream pool_stream(int64_t priority, c10::DeviceIndex device) {
  const auto index = checked(device);
  note_context(index);
  trace_pool_creation(index);
  const auto level = static_cast<int>(-std::clamp<int64_t>(priority, 1 - kPriorities, 0));
  const auto turn = next_in_pool[index][level].fetch_add(1, std::memory_order_relaxed);
  return make_stream(index, pool_stream_id(turn % kStreamsPerPool, level));
}

c10::Stream external_stream(void* handle, c10::DeviceIndex device) {
  const auto id = static_cast<c10::StreamId>(reinterpret_cast<intptr_t>(handle));
  TORCH_CHECK(is_default(id) || is_external(id), "Expected the address of a CUDA stream, but got ", handle,
              ": streams lie at even addresses");
  return make_stream(resolve_device(device), id);
}

void* stream_handle(c10::Stream stream) {
  const auto id = stream.id();
  if (is_default(id)) {
    return nullptr;
  }
  if (is_external(id)) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): another library's pointer, which torch carries as a number
    return reinterpret_cast<void*>(static_cast<intptr_t>(id));
  }
  const int kind = kind_of(id);
  TORCH_CHECK(kind >= 1 && kind <= kPriorities, "Unrecognized stream ", stream,
              " (I didn't recognize the stream type, PRIORITY ", kind, ")");
  return &pools[checked(stream.device_index())][kind - 1][pool_index(id)];
}

int stream_priority(c10::Stream stream) {
  const auto id = stream.id();
  return is_default(id) || is_external(id) ? 0 : 1 - kind_of(id);
}

std::pair<int, int> stream_priority_range() noexcept { return {0, 1 - kPriorities}; }

void check_stream(c10::Stream stream) { check_device(stream.device_index()); }

bool stream_is_done(c10::Stream stream) {
  check_stream(stream);
  check_context();
  forbid_wait_for(stream, "stream_is_done");
  native_backend().synchronize();
  tell_observer([&](Observer& one) { one.host_waited_for(stream); });
  return true;
}

void synchronize_stream(c10::Stream stream) {
  check_stream(stream);
  check_context();
  forbid_wait_for(stream, "synchronize_stream");
  note_host_waits(stream);
  native_backend().synchronize();
}

void synchronize_device(c10::DeviceIndex device) {
  check_device(resolve_device(device));
  check_context();
  forbid_wait_for_device("synchronize_device");
  if (const auto* interpreter = c10::impl::GPUTrace::get_trace()) {
    (*interpreter)->trace_gpu_device_synchronization(c10::kCUDA);
  }
  tell_observer([&](Observer& one) { one.host_waited_for(resolve_device(device)); });
  native_backend().synchronize();
}

SyncDebugMode sync_debug_mode() noexcept { return debug_mode.load(std::memory_order_relaxed); }

void set_sync_debug_mode(SyncDebugMode mode) noexcept { debug_mode.store(mode, std::memory_order_relaxed); }

void note_host_waits(c10::Stream stream) {
  if (const auto mode = sync_debug_mode(); C10_UNLIKELY(mode != SyncDebugMode::kOff)) {
    TORCH_CHECK(mode != SyncDebugMode::kError, "called a synchronizing CUDA operation");
    TORCH_WARN("called a synchronizing CUDA operation");
  }
  if (const auto* interpreter = c10::impl::GPUTrace::get_trace(); C10_UNLIKELY(interpreter != nullptr)) {
    (*interpreter)->trace_gpu_stream_synchronization(c10::kCUDA, reinterpret_cast<uintptr_t>(stream_handle(stream)));
  }
  tell_observer([&](Observer& one) { one.host_waited_for(stream); });
}

}  // namespace torchdevice
