// runtime/Stream.h: CUDA streams: who they are and which one is current.

#pragma once

#include <c10/core/Stream.h>

#include <cstdint>
#include <utility>

namespace torchdevice {

// Note [Streams without queues]
// The native backend runs everything in the order in which threads submit it, so a stream is a name: it has an
// identity, a priority and a place as current stream, but no queue. Waiting for a stream waits for the backend.

/// Stream of `device` (-1: the current one) that is current at the start of every thread.
c10::Stream default_stream(c10::DeviceIndex device);

/// This thread's current stream of `device` (-1: the current one).
c10::Stream current_stream(c10::DeviceIndex device);

/// The id of this thread's current stream of `device`, which exists: the allocator asks at every allocation.
c10::StreamId current_stream_id(c10::DeviceIndex device) noexcept;

/// Make `stream` this thread's current one on its device and return the previous one; the device stays.
c10::Stream exchange_stream(c10::Stream stream);

/// The next of the 32 streams of that priority; priorities outside the range are moved to its nearest end.
c10::Stream pool_stream(int64_t priority, c10::DeviceIndex device);

/// A stream that another library made; `handle` is its identity. Throws c10::Error for one that no library gives.
c10::Stream external_stream(void* handle, c10::DeviceIndex device);

/// What stands for cudaStream_t: null for the default stream, else a pointer that no other stream shares. Throws
/// c10::Error for an id that no stream has.
void* stream_handle(c10::Stream stream);

int stream_priority(c10::Stream stream);

/// Least and greatest priority, as CUDA counts them: (0, -3).
std::pair<int, int> stream_priority_range() noexcept;

/// Anybody can make a c10::Stream of any device. Throws AcceleratorError if there is no such device.
void check_stream(c10::Stream stream);

/// Whether everything submitted to `stream` is done; waits for it, as the native backend cannot be asked otherwise.
bool stream_is_done(c10::Stream stream);

/// Wait for everything submitted to `stream`; a synchronizing operation in the sense of sync_debug_mode.
void synchronize_stream(c10::Stream stream);

/// Wait for everything submitted to every stream of `device`.
void synchronize_device(c10::DeviceIndex device);

/// torch.cuda.set_sync_debug_mode: what a synchronizing operation does beside its work.
enum class SyncDebugMode : uint8_t { kOff = 0, kWarn = 1, kError = 2 };

SyncDebugMode sync_debug_mode() noexcept;
void set_sync_debug_mode(SyncDebugMode mode) noexcept;

/// To be called by every operation that makes the host wait for `stream` (copies to the host, item(), nonzero()).
void note_host_waits(c10::Stream stream);

}  // namespace torchdevice
