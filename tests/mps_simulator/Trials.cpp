// Trials.cpp: whether a call may be done late, found out by a first one of its kind.

#include "Trials.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/Exceptions.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <unordered_map>

#include "Plans.h"
#include "Warnings.h"

namespace mps_simulator {
namespace {

/// What tells calls apart that kernels check before they start: which tensors are one, shapes, types, and everything
/// that is no tensor.
std::string kind_of(const Operator& op, const Stack& arguments) {
  std::ostringstream kind;
  std::vector<const c10::TensorImpl*> seen;
  kind << op.operator_name();
  for (const c10::IValue& value : arguments) {
    if (value.isTensor() || value.isTensorList() || value.isOptionalTensorList()) {
      visit_tensors(value, [&](const at::Tensor& tensor) {
        kind << ';';
        if (tensor.defined()) {
          const auto known = std::find(seen.begin(), seen.end(), tensor.unsafeGetTensorImpl());
          kind << known - seen.begin() << tensor.scalar_type() << tensor.sizes() << tensor.strides();
          seen.insert(known, tensor.unsafeGetTensorImpl());
        }
      });
    } else if (!value.isGenerator()) {
      kind << ';' << value;
    }
  }
  return std::move(kind).str();
}

/// The shapes of results, and which are undefined.
std::string shapes_of(const Stack& results) {
  std::ostringstream shapes;
  for (const c10::IValue& value : results) {
    visit_tensors(value, [&](const at::Tensor& tensor) {
      shapes << ';';
      if (tensor.defined()) {
        shapes << tensor.scalar_type() << tensor.sizes();
      }
    });
  }
  return std::move(shapes).str();
}

}  // namespace

const Trial& tried(const Operator& op, const Stack& arguments) {
  static std::mutex mutex;
  static auto* const known = new std::unordered_map<std::string, Trial>();
  const std::string kind = kind_of(op, arguments);
  {
    const std::lock_guard guard(mutex);
    if (const auto found = known->find(kind); found != known->end()) {
      return found->second;
    }
  }
  StandIns zeros(StandIns::Kind::kZeros);
  Stack stack = replaced(arguments, zeros);
  for (size_t i = 0; i < stack.size(); ++i) {
    if (is_generator(op.schema().arguments()[i])) {
      stack[i] = at::make_generator<at::CPUGeneratorImpl>(0);
    }
  }
  const at::NoGradGuard no_grad;
  Trial trial;
  try {
    KeptWarnings warnings;
    run_on_host(op, stack);
    trial.warnings = warnings.take();
    StandIns meta(StandIns::Kind::kMeta);
    const std::optional<Stack> planned = plan(op, arguments, meta);
    trial.may_be_late = planned.has_value() && shapes_of(*planned) == shapes_of(stack);
  } catch (const c10::NotImplementedError&) {
    throw;
  } catch (const python_error&) {
    throw;
  } catch (const pybind11::error_already_set&) {
    throw;
  } catch (const std::exception&) {  // the call itself will raise it, or not
  }
  const std::lock_guard guard(mutex);
  return known->emplace(kind, std::move(trial)).first->second;
}

}  // namespace mps_simulator
