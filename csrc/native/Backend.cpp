// native/Backend.cpp: which device type does the work behind "cuda".

#include "native/Backend.h"

#include <algorithm>
#include <functional>
#include <string_view>

#include "settings/Settings.h"

namespace torchdevice {
namespace {

using Entry = RegisteredBackend::Entry;

/// "mps, cpu or dry"
std::string known_names(const std::vector<Entry>& entries) {
  std::string names;
  for (const Entry& entry : entries) {
    names += (names.empty() ? "" : &entry == &entries.back() ? " or " : ", ") + std::string(entry.name);
  }
  return names;
}

NativeBackend& choose_backend() {
  const std::vector<Entry> entries = RegisteredBackend::all();
  const auto setting = read_setting("TORCHDEVICE_BACKEND");
  if (!setting) {
    return std::ranges::find_if(entries, [](const Entry& entry) { return entry.is_available(); })->make();
  }
  const auto named = std::ranges::find(entries, *setting, &Entry::name);
  TORCH_CHECK_VALUE(named != entries.end(), "TORCHDEVICE_BACKEND must be ", known_names(entries), ", but it is '",
                    *setting, "'");
  TORCH_CHECK_VALUE(named->is_available(), "TORCHDEVICE_BACKEND=", *setting, ", but ", named->title,
                    " does not work here: it needs ", named->requirement, "; unset it or use cpu");
  return named->make();
}

}  // namespace

std::vector<Entry> RegisteredBackend::all() {
  std::vector<Entry> entries;
  for (const RegisteredBackend* one = first_; one != nullptr; one = one->next_) {
    entries.push_back(one->entry_);
  }
  std::ranges::sort(entries, std::greater<>(), &Entry::rank);
  return entries;
}

NativeBackend& native_backend() {
  static auto& backend = choose_backend();
  return backend;
}

std::function<void()> prepare_backends() {
  std::vector<std::function<void()>> undos;
  for (const Entry& entry : RegisteredBackend::all()) {
    if (entry.prepare != nullptr) {
      undos.push_back(entry.prepare());
    }
  }
  return [undos] {
    for (const auto& undo : undos) {
      undo();
    }
  };
}

}  // namespace torchdevice
