// allocator/CpuAllocator.h: memory that native kernels allocate while they work for a CUDA device is that device's.

#pragma once

#include <c10/core/Allocator.h>

#include <functional>

#include "runtime/ThreadState.h"

namespace torchdevice {

/// The CUDA device that this thread's native kernel works for, or -1: set by the frame of a forwarded call, and
/// restored when it ends.
inline c10::DeviceIndex& forwarding_device() noexcept { return thread_state.forwarding_device; }

/// torch's CPU allocator without us in front of it.
c10::Allocator& plain_cpu_allocator();

/// Put ourselves in front of torch's CPU allocator, at activation; returns what takes us away.
std::function<void()> install_cpu_allocator();

}  // namespace torchdevice
