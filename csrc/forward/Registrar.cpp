// forward/Registrar.cpp: puts kernels into the dispatcher under CUDA's keys.

#include "forward/Registrar.h"

#include <unordered_map>

#include "forward/Substitution.h"
#include "forward/fallback/Composed.h"
#include "forward/fallback/Remedies.h"
#include "forward/half/HalfRule.h"

namespace torchdevice::forward {
namespace {

using Handles =
    std::unordered_map<c10::DispatchKey, std::unordered_map<c10::OperatorName, c10::RegistrationHandleRAII>>;

/// Ends at exit, before torch's own registrations: each fallback that torch takes back then goes through every operator
/// that still has a kernel.
Handles& handles() {
  static Handles handles;
  return handles;
}

Substitution::Choose substitute = nullptr;

}  // namespace

Substitution::Substitution(Choose choose) noexcept { substitute = choose; }
Substitution::~Substitution() { substitute = nullptr; }

std::optional<c10::KernelFunction> Substitution::apply(const c10::OperatorName& name, c10::KernelFunction&& kernel) {
  return substitute != nullptr ? substitute(name, std::move(kernel)) : std::move(kernel);
}

void Registrar::add(const c10::OperatorName& name, c10::DispatchKey key, c10::KernelFunction kernel) {
  auto& of_key = handles()[key];
  // The dispatcher would take the later one, after a warning.
  TORCH_CHECK(!of_key.contains(name), "torchdevice registers two kernels of ", name, " for ", key,
              ": what csrc/aten implements must not be generated too (HANDWRITTEN in codegen/rules.py)");
  of_key.emplace(name, c10::Dispatcher::singleton().registerImpl(name, key, std::move(kernel),
                                                                 /*cpp_signature=*/std::nullopt,
                                                                 /*inferred_function_schema=*/nullptr, "torchdevice"));
}

void Registrar::add(const char* name, const char* overload, c10::KernelFunction kernel) {
  const c10::OperatorName op(name, overload);
  if (is_composed(op) && has(op, c10::DispatchKey::CUDA)) {
    return;  // Note [Composed kernels]
  }
  if (auto chosen = Substitution::apply(op, with_remedies(op, with_half_rule(name, overload, std::move(kernel))))) {
    add(op, c10::DispatchKey::CUDA, std::move(*chosen));
  }
}

bool Registrar::has(const c10::OperatorName& name, c10::DispatchKey key) {
  const auto of_key = handles().find(key);
  return of_key != handles().end() && of_key->second.contains(name);
}

void Registrar::take_back() { handles().clear(); }

}  // namespace torchdevice::forward
