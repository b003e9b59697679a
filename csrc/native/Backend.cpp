// native/Backend.cpp: the choice of the native backend.

#include "native/Backend.h"

#include "native/CpuBackend.h"

namespace torchdevice {

NativeBackend& native_backend() {
  static auto* const backend = new CpuBackend();
  return *backend;
}

}  // namespace torchdevice
