// runtime/Fork.h: what a fork finds at rest, so that its child can go on.

#pragma once

namespace torchdevice {

// Note [Forks]
// A child has no thread but the one that forked. A lock that another one held would stay held there for ever, so every
// lock that a child needs is taken before a fork. And libgomp would wait for threads that the child does not have:
// where CUDA is in use, they end before a fork. On a GPU cuda work starts no threads of libgomp; here it does.

/// Called around each fork of the process: `before` in the thread that forks, then one of the others in its process.
struct ForkHandlers {
  void (*before)();
  void (*in_parent)();
  void (*in_child)();
};

/// What is registered last is called first before a fork, and last after it.
void on_fork(const ForkHandlers& handlers);

/// From here on forks are prepared for; to be called once, at activation.
void install_fork_handlers();

}  // namespace torchdevice
