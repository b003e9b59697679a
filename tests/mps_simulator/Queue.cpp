// Queue.cpp: the GPU's queue: work is done in order, late, on a thread of its own, and only when somebody waits.

#include "Queue.h"

#include <ATen/core/grad_mode.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <iostream>
#include <thread>
#include <utility>
#include <vector>

#include "Warnings.h"

namespace mps_simulator {
namespace {

/// A GPU gets on by itself at last; here, once so much has been submitted.
constexpr size_t kLongest = 2000;

}  // namespace

void Queue::submit(Work work) {
  std::unique_lock lock(mutex_);
  pending_.push_back(std::move(work));
  ++submitted_;
  if (pending_.size() >= kLongest) {
    run(lock, submitted_ - kLongest / 2);
  }
}

void Queue::drain() {
  std::unique_lock lock(mutex_);
  waits_ += done_ != submitted_;
  run(lock, submitted_);
}

void Queue::step() {
  std::unique_lock lock(mutex_);
  run(lock, std::min(done_ + 1, submitted_));
}

void Queue::run_now(const Work& work) {
  drain();
  std::exception_ptr error;
  std::vector<c10::Warning> warnings;
  submit([&] {
    KeptWarnings kept;
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    warnings = kept.take();
  });
  std::unique_lock lock(mutex_);
  run(lock, submitted_);
  lock.unlock();
  for (const c10::Warning& warning : warnings) {
    c10::warn(warning);
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

uint64_t Queue::submitted() const {
  const std::lock_guard guard(mutex_);
  return submitted_;
}
uint64_t Queue::done() const {
  const std::lock_guard guard(mutex_);
  return done_;
}
uint64_t Queue::waits() const {
  const std::lock_guard guard(mutex_);
  return waits_;
}

void Queue::run(std::unique_lock<std::mutex>& lock, uint64_t until) {
  ensure_thread();
  wanted_ = std::max(wanted_, until);
  changed_.notify_all();
  changed_.wait(lock, [&] { return done_ >= until; });
}

/// Lazily, and once more after a fork.
void Queue::ensure_thread() {
  if (thread_of_ != getpid()) {
    thread_of_ = getpid();
    std::thread([this] { loop(); }).detach();
  }
}

void Queue::loop() {
  const at::NoGradGuard no_grad;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return done_ < wanted_; });
    Work work = std::move(pending_.front());
    pending_.pop_front();
    lock.unlock();
    try {
      work();
    } catch (const std::exception& error) {
      std::cerr << "simulated MPS: a kernel failed: " << error.what() << std::endl;
    }
    work = nullptr;
    lock.lock();
    ++done_;
    changed_.notify_all();
  }
}

Queue& queue() {
  static auto* const instance = new Queue();
  return *instance;
}

}  // namespace mps_simulator
