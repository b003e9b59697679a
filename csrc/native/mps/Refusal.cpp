// native/mps/Refusal.cpp: the errors by which MPS says that it cannot do what is asked, and not that the question is
// wrong.

#include "native/mps/Refusal.h"

#include <regex>
#include <typeinfo>

namespace torchdevice {
namespace {

/// The words of torch's MPS kernels; tests/native/test_refusal.py has those of a release. What the CPU does
/// not have either comes back as the CPU's error.
const std::regex& says_it_cannot() {
  static const auto* pattern = new std::regex(
      "not (yet |currently )*(supported|implemented)"
      "|(does not|doesn't) (yet )?(support|have support)"
      "|unsupported"
      "|only (supports|implemented|defined|available|.*supported)|supports [a-z0-9]+ only|supported only"
      "|handles only"
      "|missing kernel"
      // A type for which Metal's library has no kernel, or a kernel that this GPU does not run.
      "|failed to created? (function|pipeline) state object"
      "|exceeds metal max|supports tensors with dimensions <=",
      std::regex::ECMAScript | std::regex::icase);
  return *pattern;
}

/// What other sizes would not have met.
const std::regex& speaks_of_sizes() {
  static const auto* pattern = new std::regex(
      "divisible|head_dim|2\\*\\*[0-9]+|2\\^[0-9]+|int(32)?_max|> ?[0-9]{3,}|(32|64)-?bit (index|iterator)"
      "|(larger|more|less) than [0-9a-z*^]*[0-9_]|too (large|big|much)",
      std::regex::ECMAScript | std::regex::icase);
  return *pattern;
}

}  // namespace

bool is_mps_refusal(const c10::Error& error) {
  // Values that are out of range, memory that is not there: errors of other types are not about what exists.
  const bool may_refuse = typeid(error) == typeid(c10::Error) || typeid(error) == typeid(c10::NotImplementedError) ||
                          typeid(error) == typeid(c10::TypeError);
  return may_refuse && std::regex_search(error.msg(), says_it_cannot());
}

bool is_mps_refusal_by_size(const c10::Error& error) { return std::regex_search(error.msg(), speaks_of_sizes()); }

}  // namespace torchdevice
