// forward/fallback/Forced.cpp: operators that the user sends to the CPU.

#include "forward/fallback/Forced.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <unordered_set>
#include <utility>

#include "settings/Settings.h"

namespace torchdevice::forward {
namespace {

using Names = std::unordered_set<std::string>;

Names& forced_names() {
  static auto* const names = new Names();
  return *names;
}

std::string without_overload(const std::string& name) { return name.substr(0, name.find('.')); }

bool is_operator(const std::string& name) {
  const auto all = c10::Dispatcher::singleton().getAllOpNames();
  return std::any_of(all.begin(), all.end(), [&](const c10::OperatorName& one) {
    return one.name == name || one.name + "." + one.overload_name == name;
  });
}

}  // namespace

void read_forced_operators() {
  std::istringstream text(std::string(read_setting("TORCHDEVICE_FORCE_CPU_OPS").value_or("")));
  Names names;
  for (std::string name; std::getline(text, name, ',');) {
    const std::string full = name.find("::") == std::string::npos ? "aten::" + name : name;
    TORCH_CHECK_VALUE(!full.starts_with("aten::") || is_operator(full),
                      "TORCHDEVICE_FORCE_CPU_OPS must name operators, but there is no ", full);
    names.insert(full);
  }
  forced_names() = std::move(names);
}

bool is_forced_to_host(const std::string& name) {
  return forced_names().contains(name) || forced_names().contains(without_overload(name));
}

}  // namespace torchdevice::forward
