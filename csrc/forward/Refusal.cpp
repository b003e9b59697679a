// forward/Refusal.cpp: the errors by which MPS says that it cannot do what is asked, and not that the question is
// wrong.

#include "forward/Refusal.h"

#include <array>
#include <regex>
#include <string>
#include <typeinfo>

namespace torchdevice::forward {
namespace {

/// A refusal names MPS, Metal or the release of macOS, and says that something is missing there.
const std::regex& names_the_backend() {
  static const auto* pattern = new std::regex(R"(\bMPS|[Mm]ps\b|_mps\b|\bMetal\b|\b[Mm]ac ?OS)");
  return *pattern;
}

const std::regex& says_it_cannot() {
  static const auto* pattern = new std::regex(
      R"(not (yet |currently |natively )*(supported|implemented)|[Nn]ot supported|(does not|doesn't) (yet )?support)"
      R"(|does not have support|[Uu]nsupported|only support(s|ed)|missing kernel)");
  return *pattern;
}

/// Refusals of torch's MPS kernels that do not name the backend.
constexpr std::array kNameless{
    "cumulative ops are not yet supported for complex",
    "linalg_inv: not supported for complex types yet!",
    "norm ops are not supported for complex yet",
    "Yet not supported for complex",
};

}  // namespace

bool is_refusal(const c10::Error& error) {
  // Values that are out of range, memory that is not there: errors of other types are not about what exists.
  const bool may_refuse = typeid(error) == typeid(c10::Error) || typeid(error) == typeid(c10::NotImplementedError) ||
                          typeid(error) == typeid(c10::TypeError);
  if (!may_refuse) {
    return false;
  }
  const std::string& text = error.msg();
  for (const char* nameless : kNameless) {
    if (text.find(nameless) != std::string::npos) {
      return true;
    }
  }
  return std::regex_search(text, names_the_backend()) && std::regex_search(text, says_it_cannot());
}

}  // namespace torchdevice::forward
