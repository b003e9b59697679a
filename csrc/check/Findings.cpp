// check/Findings.cpp: what the checkers have found, each thing once.

#include "check/Findings.h"

#include <atomic>

namespace torchdevice::check {
namespace {

std::atomic<StackId (*)()> stack_reader{nullptr};

}  // namespace

void set_stack_reader(StackId (*reader)()) { stack_reader.store(reader); }

StackId read_stack() {
  const auto reader = stack_reader.load();
  return reader != nullptr ? reader() : 0;
}

void Findings::add(Finding finding) {
  std::string key = finding.kind;
  for (const Place& place : finding.places) {
    key += '\n' + place.what + '\n' + place.argument + '\n' + std::to_string(place.stack);
  }
  const std::lock_guard guard(mutex_);
  const auto [known, is_new] = known_.emplace(std::move(key), all_.size());
  if (is_new) {
    all_.push_back(std::move(finding));
  } else {
    ++all_[known->second].count;
  }
}

std::vector<Finding> Findings::list() {
  const std::lock_guard guard(mutex_);
  return all_;
}

Findings& findings() {
  static auto* const all = new Findings();
  return *all;
}

}  // namespace torchdevice::check
