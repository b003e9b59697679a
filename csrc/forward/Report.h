// forward/Report.h: what is counted of an operator's calls, and what happens when one falls back to the CPU.

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

/// Why a call runs on the CPU.
enum class Obstacle : uint8_t { none, forced, no_kernel, data_type, refused, layout };

/// For people: "MPS has no kernel for it".
std::string describe(Obstacle obstacle);

/// TORCHDEVICE_REPORT=1: calls are counted with their bytes, times and call sites, also over the CPU backend.
bool report_is_on() noexcept;

/// Reads TORCHDEVICE_REPORT and TORCHDEVICE_FALLBACK; throws c10::ValueError if one is none of its values. Before the
/// first kernel runs.
void read_report_settings();

/// Throws c10::NotImplementedError if TORCHDEVICE_FALLBACK=error keeps the operator `name` from the CPU.
void check_fallback(const std::string& name, Obstacle obstacle);
/// Under TORCHDEVICE_FALLBACK=warn, says that it runs there.
void warn_of_fallback(const std::string& name, Obstacle obstacle);

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
