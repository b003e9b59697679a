// forward/Report.cpp: what is counted of an operator's calls, and what happens when one falls back to the CPU.

#include "forward/Report.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string>
#include <string_view>

namespace torchdevice::forward {
namespace {

enum class Policy : uint8_t { allow, warn, error };

bool report_on = false;
Policy policy = Policy::allow;
std::atomic<std::string (*)()> call_site_reader{nullptr};

std::string_view setting(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : "";
}

Policy read_policy() {
  const std::string_view text = setting("TORCHDEVICE_FALLBACK");
  if (text.empty() || text == "allow") {
    return Policy::allow;
  }
  TORCH_CHECK_VALUE(text == "warn" || text == "error", "TORCHDEVICE_FALLBACK must be allow, warn or error, got '", text,
                    "'");
  return text == "warn" ? Policy::warn : Policy::error;
}

bool read_switch() {
  const std::string_view text = setting("TORCHDEVICE_REPORT");
  TORCH_CHECK_VALUE(text.empty() || text == "0" || text == "1", "TORCHDEVICE_REPORT must be 0 or 1, got '", text, "'");
  return text == "1";
}

void keep_call_site(Tally& tally) {
  const auto reader = call_site_reader.load();
  if (reader == nullptr || tally.call_site.load() != nullptr) {
    return;
  }
  const auto* site = new std::string(reader());
  const std::string* none = nullptr;
  if (!tally.call_site.compare_exchange_strong(none, site)) {
    delete site;  // another thread was first
  }
}

}  // namespace

std::string describe(Obstacle obstacle) {
  switch (obstacle) {
    case Obstacle::none:
      return "";
    case Obstacle::forced:
      return "TORCHDEVICE_FORCE_CPU_OPS names it";
    case Obstacle::no_kernel:
      return "MPS has no kernel for it";
    case Obstacle::data_type:
      return "MPS lacks one of its data types";
    case Obstacle::refused:
      return "MPS refused such a call";
    case Obstacle::layout:
      return "its tensors are sparse, quantized or nested";
  }
  return "";
}

bool report_is_on() noexcept { return report_on; }

void read_report_settings() {
  policy = read_policy();
  report_on = read_switch();
}

void check_fallback(const std::string& name, Obstacle obstacle) {
  TORCH_CHECK_NOT_IMPLEMENTED(policy != Policy::error, "Could not run '", name,
                              "' with arguments from the 'CUDA' backend: ", describe(obstacle),
                              ", and TORCHDEVICE_FALLBACK=error keeps it from running on the CPU.");
}

void warn_of_fallback(const std::string& name, Obstacle obstacle) {
  if (policy == Policy::warn) {
    TORCH_WARN(name, " on cuda runs on the CPU: ", describe(obstacle), " (TORCHDEVICE_FALLBACK=warn)");
  }
}

void set_call_site_reader(std::string (*reader)()) { call_site_reader.store(reader); }

Measured::Measured(Tally& tally, uint64_t bytes) : tally_(tally) {
  if (C10_UNLIKELY(report_on)) {
    keep_call_site(tally);
    tally.bytes.fetch_add(bytes, std::memory_order_relaxed);
    start_ = std::chrono::steady_clock::now();
  }
}

Measured::~Measured() {
  if (C10_UNLIKELY(report_on)) {
    const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - start_;
    tally_.nanoseconds.fetch_add(static_cast<uint64_t>(elapsed.count()), std::memory_order_relaxed);
  }
}

}  // namespace torchdevice::forward
