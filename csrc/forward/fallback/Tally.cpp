// forward/fallback/Tally.cpp: what is counted of an operator's calls on one side.

#include "forward/fallback/Tally.h"

#include <c10/util/Exception.h>

#include <string_view>

#include "settings/Settings.h"

namespace torchdevice::forward {
namespace {

bool report_on = false;
std::atomic<std::string (*)()> call_site_reader{nullptr};

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

bool report_is_on() noexcept { return report_on; }

void read_report_switch() {
  const std::string_view text = read_setting("TORCHDEVICE_REPORT").value_or("");
  TORCH_CHECK_VALUE(text.empty() || text == "0" || text == "1", "TORCHDEVICE_REPORT must be 0 or 1, got '", text, "'");
  report_on = text == "1";
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
