// runtime/AutogradEngine.cpp: torch's autograd engine and its device threads.

#include "runtime/AutogradEngine.h"

#include <ATen/ops/zeros.h>
#include <c10/core/AutogradState.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/variable.h>

#include <exception>

#include "runtime/Device.h"

namespace torchdevice {
namespace {

// Note [Asking the engine]
// Whether the engine has started is a static variable inside Engine::initialize_device_threads_pool(). Its initialiser
// asks every device guard for its type(), and an initialiser that throws has not run: with a guard that throws, calling
// the function tells both cases apart and changes neither. Only this thread's question is answered by a throw.
struct NotStarted : std::exception {};
constinit thread_local bool asking = false;

/// Stands in CUDA's place where the guard is none or a CUDA build's, which does not know the question.
struct ProbeGuard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::DeviceType type() const override {
    answer_backward_has_run();
    return c10::DeviceType::CUDA;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return 0; }
};

bool answers(const c10::impl::DeviceGuardImplInterface* guard) {
  asking = true;
  bool answered = false;
  try {
    static_cast<void>(guard != nullptr && guard->type() == c10::DeviceType::CUDA);
  } catch (const NotStarted&) {
    answered = true;
  }
  asking = false;
  return answered;
}

/// While it lives, backward passes use the engine's device threads.
class DeviceThreads {
 public:
  DeviceThreads() noexcept { set(true); }
  ~DeviceThreads() { set(before_); }
  DeviceThreads(const DeviceThreads&) = delete;
  DeviceThreads& operator=(const DeviceThreads&) = delete;

 private:
  static void set(bool enabled) noexcept { c10::AutogradState::get_tls_state().set_multithreading_enabled(enabled); }
  bool before_ = c10::AutogradState::get_tls_state().get_multithreading_enabled();
};

/// A backward pass through one node on `device`, on its thread, without anything of Python's.
void run_backward(c10::Device device) {
  const at::AutoGradMode enabled(true);
  const DeviceThreads threads;
  const at::Tensor leaf = at::zeros({}, device).requires_grad_();
  torch::autograd::Engine::get_default_engine().execute({torch::autograd::impl::gradient_edge(leaf.clone())},
                                                        {at::zeros({}, device)}, /*keep_graph=*/false,
                                                        /*create_graph=*/false, /*accumulate_grad=*/true);
}

}  // namespace

void answer_backward_has_run() {
  if (asking) {
    throw NotStarted{};
  }
}

bool backward_has_run() {
  auto& slot = c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::CUDA)];
  static const auto* probe = new ProbeGuard();
  const auto* before = slot.load();
  const bool stands_in = !answers(before);
  if (stands_in) {
    slot.store(probe);
  }
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
  if (stands_in) {
    slot.store(before);
  }
  return started;
}

// Note [Threads of a backward pass]
// On a GPU a device's thread of the engine only launches kernels. Here it would compute, with a pool of OpenMP threads
// of its own beside that of the thread that computed the forward pass: together more threads than cores, whereupon
// libgomp lets none of them wait awake, and every parallel loop begins with waking them. Training took 1.5 times as
// long.
void keep_backward_on_this_thread() {
  constexpr int kNone = -1;
  if (torch::autograd::get_current_graph_task_id() == kNone) {  // else this may be a device thread that was asked for
    c10::AutogradState::get_tls_state().set_multithreading_enabled(false);
  }
}

// Note [The last reference to a backward pass]
// A device thread of the engine goes on for a moment after backward() has returned or raised, and may drop the last
// reference to a Python object of that pass: its contextvars, the exception of a hook. For that it needs the GIL, and
// if the interpreter has begun to end, Python kills the thread inside a destructor, and the process aborts ("terminate
// called without an active exception"). A thread that has run another pass is past that moment.
void settle_backward() {
  if (!backward_has_run()) {
    return;
  }
  try {
    for (c10::DeviceIndex index = 0; index < device_count(); ++index) {
      run_backward(c10::Device(c10::DeviceType::CUDA, index));
    }
  } catch (const c10::Error&) {
    return;  // a forked child has no device threads, a full device no memory: the process ends as it would have
  }
}

}  // namespace torchdevice
