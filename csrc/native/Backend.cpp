// native/Backend.cpp: the choice of the native backend.

#include "native/Backend.h"

#include <ATen/detail/MPSHooksInterface.h>

#include <cstdlib>
#include <string_view>

#include "native/CpuBackend.h"
#include "native/MpsBackend.h"

namespace torchdevice {
namespace {

NativeBackend* new_mps_backend() { return new MpsBackend(static_cast<CpuBackend&>(host_backend())); }

NativeBackend* choose_backend() {
  const bool has_mps = at::detail::getMPSHooks().hasMPS();
  const char* setting = std::getenv("TORCHDEVICE_BACKEND");
  if (setting == nullptr) {
    return has_mps ? new_mps_backend() : &host_backend();
  }
  const std::string_view name = setting;
  TORCH_CHECK_VALUE(name == "mps" || name == "cpu", "TORCHDEVICE_BACKEND must be mps or cpu, but it is '", name, "'");
  if (name == "cpu") {
    return &host_backend();
  }
  TORCH_CHECK_VALUE(has_mps,
                    "TORCHDEVICE_BACKEND=mps, but MPS does not work here: it needs a Mac with Apple silicon, macOS 14 "
                    "and torch's macOS wheel; unset it or use cpu");
  return new_mps_backend();
}

}  // namespace

NativeBackend& native_backend() {
  static auto* const backend = choose_backend();
  return *backend;
}

NativeBackend& host_backend() {
  static auto* const backend = new CpuBackend();
  return *backend;
}

}  // namespace torchdevice
