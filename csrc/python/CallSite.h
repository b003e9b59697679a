// python/CallSite.h: the line of the program that runs right now.

#pragma once

#include <string>

namespace torchdevice {

/// "file:line" of the innermost line that is neither torch's nor ours; where there is none, as in a thread of torch's,
/// nothing.
std::string call_site();

}  // namespace torchdevice
