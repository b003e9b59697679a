// forward/Side.h: whether this thread's aliases are tensors of the native backend or of the CPU.

#pragma once

#include "forward/AliasPool.h"

namespace torchdevice::forward {

/// Where the native backend is the CPU, both are it.
enum class Side { kNative, kHost };

/// Until it is destroyed, frames of this thread alias for that side.
class OnSide {
 public:
  explicit OnSide(Side side) : outer_(alias_pool()) {
    thread_state.aliases = side == Side::kHost && has_fallback() ? &outer_.on_host() : &outer_.on_native();
  }
  ~OnSide() { thread_state.aliases = &outer_; }
  OnSide(const OnSide&) = delete;
  OnSide& operator=(const OnSide&) = delete;

 private:
  AliasPool& outer_;
};

}  // namespace torchdevice::forward
