// check/Waits.cpp: where the host waits for the device, and for how much work.

#include "check/Waits.h"

namespace torchdevice::check {

void Waits::note(const std::string& what, StackId stack, uint64_t operators) {
  const auto [known, is_new] = known_.try_emplace({what, stack}, all_.size());
  if (is_new) {
    all_.push_back({what, stack});
  }
  Wait& wait = all_[known->second];
  ++wait.count;
  wait.operators += operators;
}

}  // namespace torchdevice::check
