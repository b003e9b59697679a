// check/Assertions.cpp: bad values on the device, at the line that asked for the operator.

#include "check/Assertions.h"

#include <string>
#include <utility>

namespace torchdevice::check {

void report_assertion(std::string_view op, std::string_view detail, StackId stack) {
  Finding finding{"asserts", {}, {}, {{std::string(op), {}, {}, stack}}};
  finding.explanation = std::string(op).append(": ").append(detail).append(
      ". On a GPU the kernel fails an assertion. Whatever the process asks of CUDA afterwards fails, and the error "
      "names a later line.");
  finding.remedy =
      "Check the values before they reach the device, or clamp them; a process that has met this on a GPU has to be "
      "started again.";
  findings().add(std::move(finding));
}

}  // namespace torchdevice::check
