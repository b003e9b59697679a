// check/Uninitialized.h: operators that read what nobody has written.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "check/Contents.h"
#include "check/Findings.h"
#include "check/Operators.h"
#include "check/Region.h"

namespace torchdevice::check {

/// Under the checker's lock.
class Uninitialized {
 public:
  /// One tensor of a call.
  struct Used {
    at::Tensor tensor;
    Region region;
    size_t value = 0;
    Use how = Use::kNone;
  };
  struct Caller {
    const Operator& op;
    StackId stack;
    std::string stream;
  };

  void allocate(void* memory, size_t nbytes, StackId stack) { contents_.allocate(memory, nbytes, stack); }
  void free(const void* memory) { contents_.free(memory); }

  /// To be called before the operator runs, and for its results when it has. `other` is the call's: for an operator
  /// that copies it keeps the one tensor until the other one is known.
  void use(const Caller& caller, Used used, std::optional<Used>& other);

 private:
  void copy(const Caller& caller, const Used& source, const Used& target);
  void report(const Caller& caller, const Used& used, uint64_t bytes);

  Contents contents_;
};

}  // namespace torchdevice::check
