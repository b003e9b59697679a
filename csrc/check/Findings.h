// check/Findings.h: what the checkers have found, each thing once.

#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace torchdevice::check {

/// A Python stack that was seen; 0 is none. Whoever knows Python sets how one is read, and knows what it holds.
using StackId = uint32_t;
void set_stack_reader(StackId (*reader)());
/// The calling thread's. Takes Python's lock: no lock of the checkers may be held.
StackId read_stack();

/// One side of a finding.
struct Place {
  std::string what;      ///< an operator, or what else the program did
  std::string argument;  ///< of the operator; empty where there is none
  std::string stream;
  StackId stack = 0;
};

struct Finding {
  const char* kind;  ///< "races", "lifetime", …: the name of the checker
  std::string explanation;
  std::string remedy;
  std::vector<Place> places;  ///< the earlier one first
  uint64_t count = 1;
};

/// Has a lock of its own.
class Findings {
 public:
  void add(Finding finding);
  std::vector<Finding> list();

 private:
  std::mutex mutex_;
  std::map<std::string, size_t> known_;
  std::vector<Finding> all_;
};

Findings& findings();

}  // namespace torchdevice::check
