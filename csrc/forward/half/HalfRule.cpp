// forward/half/HalfRule.cpp: which operators compute float16 and bfloat16 in float32 on this processor.

#include "forward/half/HalfRule.h"

#include <c10/util/Exception.h>

#include <string_view>
#include <unordered_map>
#include <utility>

#include "forward/half/Processor.h"
#include "native/Backend.h"
#include "settings/Settings.h"

namespace torchdevice::forward {
namespace {

enum class Choice : uint8_t { kMeasured, kNative, kFloat32 };

Choice choice_named(std::string_view text) {
  if (text.empty()) {
    return Choice::kMeasured;
  }
  TORCH_CHECK_VALUE(text == "native" || text == "float32", "TORCHDEVICE_HALF must be native or float32, got '", text,
                    "'");
  return text == "native" ? Choice::kNative : Choice::kFloat32;
}

bool is_native(Native measured, Choice choice, bool has_units) {
  switch (measured) {
    case Native::kNever:
      return choice == Choice::kNative;
    case Native::kWithUnits:
      return choice == Choice::kNative || (choice == Choice::kMeasured && has_units);
    case Native::kWithoutUnits:
      return choice == Choice::kNative || (choice == Choice::kMeasured && !has_units);
    case Native::kAlways:
      return choice != Choice::kFloat32;
  }
  return true;
}

struct Decided {
  Choice choice = Choice::kMeasured;
  HalfUnits units;
  std::unordered_map<c10::OperatorName, const HalfOperator*> operators;
};

/// Leaked: kernels may run until the process ends.
Decided& decided() {
  static auto* const decided = new Decided();
  return *decided;
}

DtypeSet in_float32(Native bfloat16, Native float16) {
  const auto& [choice, units, operators] = decided();
  return (is_native(bfloat16, choice, units.bfloat16) ? 0 : dtype_set({at::kBFloat16})) |
         (is_native(float16, choice, units.float16) ? 0 : dtype_set({at::kHalf}));
}

}  // namespace

void read_half_rule() {
  Decided& now = decided();
  now.choice = choice_named(read_setting("TORCHDEVICE_HALF").value_or(""));
  now.units = half_units();
  now.operators.clear();
  for (const HalfOperator& one : half_operators()) {
    now.operators.emplace(c10::OperatorName(one.name, one.overload), &one);
  }
}

c10::KernelFunction with_half_rule(const char* name, const char* overload, c10::KernelFunction kernel) {
  const auto found = decided().operators.find({name, overload});
  if (found == decided().operators.end() || !native_backend().device().is_cpu()) {
    return kernel;
  }
  const HalfOperator& one = *found->second;
  const HalfRule rule{in_float32(one.bfloat16, one.float16), one.wide_results, one.elementwise, one.updates_statistics};
  return rule.in_float32 == 0 ? std::move(kernel)
                              : one.wrap(c10::Dispatcher::singleton().findSchemaOrThrow(name, overload), rule, kernel);
}

bool runs_in_float32(Recurrent layers, c10::ScalarType type) {
  const DtypeSet wide = layers == Recurrent::kLstm ? in_float32(Native::kWithUnits, Native::kNever)
                                                   : in_float32(Native::kNever, Native::kNever);
  return type != at::ScalarType::Undefined && (dtype_set({type}) & wide) != 0 && native_backend().device().is_cpu();
}

std::string describe_half_rule() {
  const auto& [choice, units, operators] = decided();
  if (!native_backend().device().is_cpu()) {
    return std::string("native (") + native_backend().title() + ")";
  }
  if (choice != Choice::kMeasured) {
    return choice == Choice::kNative ? "native (TORCHDEVICE_HALF)" : "float32 (TORCHDEVICE_HALF)";
  }
  const auto products = [](bool native) { return native ? "native" : "float32"; };
  return std::string("products of bfloat16 ") + products(units.bfloat16) + ", of float16 " + products(units.float16) +
         " (" + (units.name.empty() ? "no units for halves" : units.name) + ")";
}

}  // namespace torchdevice::forward
