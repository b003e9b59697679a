// runtime/AutogradEngine.cpp: the state of torch's autograd engine, which starts its device threads only once.

#include "runtime/AutogradEngine.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/autograd/engine.h>

#include <exception>

namespace torchdevice {
namespace {

// Note [Asking the engine]
// Whether the engine has started is a static variable inside Engine::initialize_device_threads_pool(). Its initialiser
// asks every device guard for its type(), and an initialiser that throws has not run: with a guard that throws, calling
// the function tells both cases apart and changes neither. Only this thread's question is answered by a throw.
struct NotStarted : std::exception {};
constinit thread_local bool asking = false;

struct ProbeGuard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::DeviceType type() const override {
    if (asking) throw NotStarted{};
    return c10::DeviceType::CUDA;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return 0; }
};

}  // namespace

bool backward_has_run() {
  auto& slot = c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::CUDA)];
  static const auto* probe = new ProbeGuard();
  const auto* previous = slot.exchange(probe);
  bool started = false;
  asking = true;
  try {
    torch::autograd::Engine::get_default_engine().initialize_device_threads_pool();
    started = true;
  } catch (const NotStarted&) {
    started = false;
  } catch (const c10::Error&) {
    started = true;  // the engine refuses to work in this forked child, so its parent has run it
  }
  asking = false;
  slot.store(previous);
  return started;
}

}  // namespace torchdevice
