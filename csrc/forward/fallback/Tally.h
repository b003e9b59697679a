// forward/fallback/Tally.h: what is counted of an operator's calls on one side.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace torchdevice::forward {

/// An operator's calls on one side.
struct Tally {
  std::atomic<uint64_t> calls{0};
  // Only where report_is_on().
  std::atomic<uint64_t> bytes{0};  ///< of the tensors that it was given
  std::atomic<uint64_t> nanoseconds{0};
  std::atomic<const std::string*> call_site{nullptr};  ///< of the first call; never freed
};

/// TORCHDEVICE_REPORT=1: calls are counted with their bytes, times and call sites, also over the CPU backend.
bool report_is_on() noexcept;

/// Reads TORCHDEVICE_REPORT; throws c10::ValueError if it is neither 0 nor 1. Before the first kernel runs.
void read_report_switch();

/// "file:line" of the Python code that runs on this thread, empty if there is none; set by the Python side.
void set_call_site_reader(std::string (*reader)());

/// Bytes, time and call site of one call, for as long as it lives; nothing where no report is made.
class Measured {
 public:
  Measured(Tally& tally, uint64_t bytes);
  ~Measured();
  Measured(const Measured&) = delete;
  Measured& operator=(const Measured&) = delete;

 private:
  Tally& tally_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace torchdevice::forward
