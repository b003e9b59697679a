// native/mps/Refusal.h: the errors by which MPS says that it cannot do what is asked, and not that the question is
// wrong.

#pragma once

#include <c10/util/Exception.h>

namespace torchdevice {

/// Whether a native kernel threw `error` because the backend lacks the operator, the data type or the mode.
bool is_mps_refusal(const c10::Error& error);

/// Of a refusal: whether it is about sizes.
bool is_mps_refusal_by_size(const c10::Error& error);

}  // namespace torchdevice
