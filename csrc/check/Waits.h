// check/Waits.h: where the host waits for the device, and for how much work.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "check/Findings.h"

namespace torchdevice::check {

/// A place that makes the host wait.
struct Wait {
  std::string what;  ///< the operator; empty where the program itself asked for the wait
  StackId stack = 0;
  uint64_t count = 0;
  uint64_t operators = 0;  ///< that were queued before it and not known to be done, in all its waits together
};

/// Under the checker's lock.
class Waits {
 public:
  void note(const std::string& what, StackId stack, uint64_t operators);
  const std::vector<Wait>& list() const { return all_; }

 private:
  std::map<std::pair<std::string, StackId>, size_t> known_;
  std::vector<Wait> all_;
};

}  // namespace torchdevice::check
