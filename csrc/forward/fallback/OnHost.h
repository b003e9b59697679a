// forward/fallback/OnHost.h: whether this thread's aliases are tensors of the native backend or of the CPU.

#pragma once

#include "forward/AliasPool.h"

namespace torchdevice::forward {

/// Until it is destroyed, frames of this thread take their aliases from another pool.
class WithAliases {
 public:
  WithAliases(const WithAliases&) = delete;
  WithAliases& operator=(const WithAliases&) = delete;

 protected:
  WithAliases(AliasPool& outer, AliasPool& inner) : outer_(outer) { use(inner); }
  ~WithAliases() { use(outer_); }

 private:
  static void use(AliasPool& pool) {
    thread_state.aliases = &pool;
    thread_state.works_on_host = pool.native().translates_addresses;
  }

  AliasPool& outer_;
};

/// Its aliases are tensors of the native backend.
class OnNative : public WithAliases {
 public:
  OnNative() : OnNative(alias_pool()) {}

 private:
  explicit OnNative(AliasPool& outer) : WithAliases(outer, outer.on_native()) {}
};

/// Its aliases are tensors of the CPU; where the native backend is the CPU, of that.
class OnHost : public WithAliases {
 public:
  OnHost() : OnHost(alias_pool()) {}

 private:
  explicit OnHost(AliasPool& outer) : WithAliases(outer, has_fallback() ? outer.on_host() : outer.on_native()) {}
};

}  // namespace torchdevice::forward
