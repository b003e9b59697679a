// runtime/ThreadState.h: what the hot paths of forwarding and allocation know of their thread.

#pragma once

#include <c10/core/Device.h>

namespace at {
struct RecordFunctionTLS;
}

namespace torchdevice {
namespace forward {
class AliasPool;
}

struct ThreadState {
  /// The CUDA device that the running native kernel works for; -1 outside of kernels.
  c10::DeviceIndex forwarding_device = -1;
  /// This thread's aliases, once it has forwarded an operator.
  forward::AliasPool* aliases = nullptr;
  /// Its aliases are the CPU's, beside another native backend: kernels find memory under the host's addresses.
  bool works_on_host = false;
  /// torch's record of this thread's profilers, once it was asked for.
  const at::RecordFunctionTLS* profilers = nullptr;
};

#if defined(__linux__)
// One instruction instead of a call; the few bytes fit what the loader keeps free for libraries opened late.
[[gnu::tls_model("initial-exec")]]
#endif
inline constinit thread_local ThreadState thread_state;

}  // namespace torchdevice
