// Plans.h: what a call will return and resize, as the meta device says before it is done.

#pragma once

#include <optional>

#include "Calls.h"

namespace mps_simulator {

/// Results on the meta device: what the kernel will return, without its values; nothing if that is not known. `meta` is
/// left with the arguments as they will be.
std::optional<Stack> plan(const Operator& op, const Stack& arguments, StandIns& meta);

/// Whether a tensor will be resized whose memory another argument has too: overlap is checked before that is done.
bool resizes_shared_memory(const Stack& arguments, StandIns& meta);

/// What was resized as a meta tensor is resized here.
void resize_as_planned(const Stack& arguments, StandIns& meta);

}  // namespace mps_simulator
