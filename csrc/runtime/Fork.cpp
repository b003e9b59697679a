// runtime/Fork.cpp: what a fork finds at rest, so that its child can go on.

#include "runtime/Fork.h"

#include <pthread.h>

#include <mutex>
#include <ranges>
#include <vector>

#include "runtime/Device.h"

#ifdef __linux__
/// Of OpenMP 5.0; weak, as torch may come without OpenMP.
extern "C" __attribute__((weak)) int omp_pause_resource_all(int kind);
#endif

namespace torchdevice {
namespace {

/// Each thread that runs parallel loops has a team of its own in libgomp, and the child is the thread that forks:
/// ending its team suffices. The next loop starts another. LLVM's and Intel's runtimes look after forks themselves, on
/// macOS too; there the call means nothing.
void end_team_of_this_thread() {
#ifdef __linux__
  constexpr int kSoft = 1;
  if (omp_pause_resource_all != nullptr) {
    omp_pause_resource_all(kSoft);
  }
#endif
}

struct Registry {
  std::mutex mutex;
  std::vector<ForkHandlers> handlers;
};

Registry& registry() {
  static auto* const registry = new Registry();
  return *registry;
}

void before_fork() {
  // First, without any lock: threads that end give back what they hold.
  if (cuda_is_initialized()) {
    end_team_of_this_thread();
  }
  registry().mutex.lock();
  for (const ForkHandlers& handlers : registry().handlers | std::views::reverse) {
    handlers.before();
  }
}

template <void (*ForkHandlers::*handler)()>
void after_fork() {
  for (const ForkHandlers& handlers : registry().handlers) {
    (handlers.*handler)();
  }
  registry().mutex.unlock();
}

}  // namespace

void on_fork(const ForkHandlers& handlers) {
  const std::lock_guard guard(registry().mutex);
  registry().handlers.push_back(handlers);
}

void install_fork_handlers() {
  pthread_atfork(before_fork, after_fork<&ForkHandlers::in_parent>, after_fork<&ForkHandlers::in_child>);
}

}  // namespace torchdevice
