// check/Wanted.cpp: which checkers TORCHDEVICE_CHECK asks for.

#include "check/Wanted.h"

#include <c10/util/Exception.h>

#include <array>
#include <string>
#include <string_view>

#include "native/Backend.h"
#include "settings/Settings.h"

namespace torchdevice::check {
namespace {

struct Known {
  std::string_view name;
  bool Wanted::* flag;
  bool needs_blocks;  ///< of the caching allocator; a backend with an allocator of its own has none
};
constexpr std::array kCheckers{
    Known{"races", &Wanted::races, false},     Known{"lifetime", &Wanted::lifetime, true},
    Known{"sync", &Wanted::sync, false},       Known{"uninitialized", &Wanted::uninitialized, true},
    Known{"graph", &Wanted::graph, false},     Known{"late", &Wanted::late, true},
    Known{"asserts", &Wanted::asserts, false},
};

bool works(const Known& checker) { return !checker.needs_blocks || native_backend().allocator() == nullptr; }

std::string names() {
  std::string all;
  for (const Known& checker : kCheckers) {
    all.append(all.empty() ? "" : ",").append(checker.name);
  }
  return all;
}

void turn_on(Wanted& wanted, std::string_view name) {
  bool is_known = name == "all";
  for (const Known& checker : kCheckers) {
    if (name == checker.name) {
      TORCH_CHECK_VALUE(works(checker), "TORCHDEVICE_CHECK=", name,
                        " needs the blocks of CUDA's caching allocator, and ", native_backend().title(),
                        " has one of its own; leave it out, or set TORCHDEVICE_BACKEND=cpu");
      is_known = true;
    }
    if (name == checker.name || (name == "all" && works(checker))) {
      wanted.*checker.flag = true;
    }
  }
  TORCH_CHECK_VALUE(is_known, "TORCHDEVICE_CHECK must be all, or some of ", names(), ", but '", name,
                    "' is none of them");
}

}  // namespace

Wanted read_wanted() {
  Wanted wanted;
  std::string_view rest = read_setting("TORCHDEVICE_CHECK").value_or("");
  while (!rest.empty()) {
    const size_t end = rest.find(',');
    turn_on(wanted, rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return wanted;
}

}  // namespace torchdevice::check
