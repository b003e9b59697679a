// Queue.h: the GPU's queue: work is done in order, late, on a thread of its own, and only when somebody waits.

#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

namespace mps_simulator {

class Queue {
 public:
  using Work = std::function<void()>;

  /// Returns at once. What the work throws goes to stderr and nowhere else: Metal's kernels raise nothing.
  void submit(Work work);
  /// Block until everything that was submitted is done.
  void drain();
  /// Let the GPU get on by one piece of work: somebody asks whether it is done.
  void step();
  /// drain(), then run `work` where the GPU works; throws what it throws, and warns where it is called.
  void run_now(const Work& work);

  /// Pieces of work submitted, done, and waits that found something to wait for.
  uint64_t submitted() const;
  uint64_t done() const;
  uint64_t waits() const;

 private:
  void run(std::unique_lock<std::mutex>& lock, uint64_t until);
  void loop();
  void ensure_thread();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> pending_;
  uint64_t submitted_ = 0;
  uint64_t done_ = 0;
  uint64_t wanted_ = 0;  ///< the thread works until `done_` is this
  uint64_t waits_ = 0;
  pid_t thread_of_ = 0;
};

Queue& queue();

}  // namespace mps_simulator
