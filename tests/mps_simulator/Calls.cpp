// Calls.cpp: a boxed call of an operator: its tensors, and how the CPU does it.

#include "Calls.h"

#include <optional>
#include <string>
#include <vector>

namespace mps_simulator {
namespace {

const c10::DispatchKeySet kHost(c10::DispatchKey::CPU);

}  // namespace

bool is_generator(const c10::Argument& argument) {
  return argument.type()->isSubtypeOf(*c10::OptionalType::create(c10::GeneratorType::get()));
}

Stack replaced(const Stack& arguments, StandIns& stand_ins) {
  Stack result;
  for (const c10::IValue& value : arguments) {
    result.push_back(stand_ins.of(value));
  }
  return result;
}

void run_on_host(const Operator& op, Stack& stack) {
  const auto convolution = [&](const char* name) {
    const auto real = c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
    real.redispatchBoxed(kHost, &stack);
  };
  const std::string& name = op.schema().name();
  if (name == "aten::convolution_overrideable") {
    convolution("aten::convolution");
  } else if (name == "aten::convolution_backward_overrideable") {
    // Has no bias_sizes, and its mask stands at the same place.
    const auto mask = stack[stack.size() - 1].toBoolList();
    const at::Tensor weight = stack[2].toTensor();
    stack.insert(stack.begin() + 3,
                 c10::IValue(mask.get(2) ? std::optional(std::vector<int64_t>{weight.size(0)}) : std::nullopt));
    convolution("aten::convolution_backward");
  } else {
    op.redispatchBoxed(kHost, &stack);
  }
}

}  // namespace mps_simulator
