// check/Assertions.h: bad values on the device, at the line that asked for the operator.

#pragma once

#include <string_view>

#include "check/Findings.h"

namespace torchdevice::check {

/// `op` met what `detail` says, for which a GPU's kernel fails an assertion.
void report_assertion(std::string_view op, std::string_view detail, StackId stack);

}  // namespace torchdevice::check
