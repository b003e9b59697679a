// runtime/LostContext.cpp: what a process cannot do any more after a failed assertion on the device.

#include "runtime/LostContext.h"

#include <atomic>

#include "runtime/CaptureKey.h"
#include "runtime/Error.h"

namespace torchdevice {
namespace {

std::atomic<bool> is_lost{false};

}  // namespace

void lose_context() {
  if (!is_lost.exchange(true)) {
    ++captures_underway;
  }
}

void restore_context() {
  if (is_lost.exchange(false)) {
    --captures_underway;
  }
}

void check_context() {
  if (is_lost.load(std::memory_order_acquire)) {
    throw_cuda_error(CudaError::kAssert, __func__,
                     "The context was lost by an earlier failure (TORCHDEVICE_STRICT=2).");
  }
}

}  // namespace torchdevice
