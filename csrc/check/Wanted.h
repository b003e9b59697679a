// check/Wanted.h: which checkers TORCHDEVICE_CHECK asks for.

#pragma once

namespace torchdevice::check {

struct Wanted {
  bool races = false;
  bool lifetime = false;
  bool sync = false;
  bool uninitialized = false;
  bool graph = false;
  bool late = false;
  bool asserts = false;

  bool any() const noexcept { return looks_at_operators() || sync || graph || asserts; }
  /// At each of them; otherwise only at those that make the host wait.
  bool looks_at_operators() const noexcept { return races || lifetime || uninitialized || late; }
};

/// "all", or names with commas between; nothing without the setting. Throws ValueError for any other.
Wanted read_wanted();

}  // namespace torchdevice::check
