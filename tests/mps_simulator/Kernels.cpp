// Kernels.cpp: the operators that torch's MPS backend has, done by the CPU's kernels, late.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <torch/csrc/Exceptions.h>
#include <torch/library.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "ByHand.h"
#include "Generator.h"
#include "Queue.h"
#include "Simulator.h"
#include "Tensors.h"
#include "Warnings.h"

namespace mps_simulator {
namespace {

using Stack = torch::jit::Stack;
using Operator = c10::OperatorHandle;

const c10::DispatchKeySet kHost(c10::DispatchKey::CPU);
const c10::DispatchKeySet kMeta(c10::DispatchKey::Meta);

/// Names of torch's operators with an MPS kernel, from native_functions.yaml of the torch that is installed.
const char* const kOperators[] = {
#include "operators.inc"
};

/// For these torch registers a kernel that copies to the CPU and back.
const std::set<std::string> kTorchsFallbacks{"aten::embedding_renorm_", "aten::linalg_svd", "aten::linalg_svd.U",
                                             "aten::col2im", "aten::upsample_nearest3d.vec"};

template <class Visit>
void visit_tensors(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    visit(value.toTensor());
  } else if (value.isTensorList() || value.isOptionalTensorList()) {
    for (const c10::IValue& one : value.toListRef()) {
      visit_tensors(one, visit);
    }
  }
}

bool is_generator(const c10::Argument& argument) {
  return argument.type()->isSubtypeOf(*c10::OptionalType::create(c10::GeneratorType::get()));
}

bool is_dtype_of_factory(const c10::Argument& argument) { return argument.name() == "dtype"; }

/// Devices, the types of tensors, and those that are asked for.
void check_arguments(const Operator& op, const Stack& arguments) {
  const auto& formals = op.schema().arguments();
  for (size_t i = 0; i < formals.size(); ++i) {
    visit_tensors(arguments[i], [](const at::Tensor& tensor) {
      if (tensor.defined() && tensor.is_mps()) {
        refusals += !has_dtype(tensor.scalar_type());
        check_dtype(tensor.scalar_type());
      }
      TORCH_CHECK(!tensor.defined() || tensor.is_mps() || tensor.is_cpu(),
                  "Expected all tensors to be on the same device, but found at least two devices, mps:0 and ",
                  tensor.device(), "!");
    });
    if (is_dtype_of_factory(formals[i]) && arguments[i].isInt()) {
      check_dtype(arguments[i].toScalarType());
    }
  }
}

Stack replaced(const Stack& arguments, StandIns& stand_ins) {
  Stack result;
  for (const c10::IValue& value : arguments) {
    result.push_back(stand_ins.of(value));
  }
  return result;
}

/// A result that is an argument (in-place and out= operators) is that argument.
std::optional<size_t> argument_returned(const Operator& op, size_t result) {
  const auto* alias = op.schema().returns()[result].alias_info();
  if (alias == nullptr) {
    return std::nullopt;
  }
  const auto& formals = op.schema().arguments();
  for (size_t i = 0; i < formals.size(); ++i) {
    const auto* other = formals[i].alias_info();
    if (other != nullptr && other->beforeSets() == alias->beforeSets()) {
      return i;
    }
  }
  return std::nullopt;
}

bool is_of_tensors(const c10::Type& type) {
  return type.kind() == c10::TypeKind::TensorType ||
         (type.kind() == c10::TypeKind::ListType &&
          type.castRaw<c10::ListType>()->getElementType()->kind() == c10::TypeKind::TensorType);
}

/// Whether it is `out=`, and in no other argument.
bool is_only_written(const Operator& op, const Stack& arguments, size_t position) {
  const c10::Argument& formal = op.schema().arguments()[position];
  if (!formal.kwarg_only() || formal.alias_info() == nullptr || !arguments[position].isTensor()) {
    return false;
  }
  size_t times = 0;
  for (const c10::IValue& value : arguments) {
    visit_tensors(value, [&](const at::Tensor& tensor) { times += tensor.is_same(arguments[position].toTensor()); });
  }
  return times == 1 && arguments[position].toTensor().is_mps();
}

/// Whether a plan has left `out=` empty though there is something to compute: torch's for huber_loss_backward of half
/// numbers does.
bool has_forgotten_to_resize(const Operator& op, const Stack& arguments, StandIns& meta) {
  int64_t elements = 0;
  bool left_empty = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool only_written = is_only_written(op, arguments, i);
    visit_tensors(arguments[i], [&](const at::Tensor& tensor) {
      if (only_written) {
        left_empty |= meta.of(tensor).numel() == 0;
      } else if (tensor.defined()) {
        elements += tensor.numel();
      }
    });
  }
  return left_empty && elements > 0;
}

/// Results on the meta device: what the kernel will return, without its values.
std::optional<Stack> plan(const Operator& op, const Stack& arguments, StandIns& meta) {
  for (const c10::Argument& result : op.schema().returns()) {
    if (!is_of_tensors(*result.type())) {
      return std::nullopt;
    }
  }
  if (!op.hasComputedKernelForDispatchKey(c10::DispatchKey::Meta)) {
    return std::nullopt;
  }
  Stack stack = replaced(arguments, meta);
  for (size_t i = 0; i < stack.size(); ++i) {
    if (is_generator(op.schema().arguments()[i])) {
      stack[i] = c10::IValue();
    } else if (is_only_written(op, arguments, i)) {
      // Plans that are Python functions warn of what is resized, unless it is empty.
      stack[i].toTensor().unsafeGetTensorImpl()->set_sizes_contiguous({0});
    }
  }
  bool complex = false;
  for (const c10::IValue& value : arguments) {
    visit_tensors(value, [&](const at::Tensor& tensor) { complex |= tensor.defined() && tensor.is_complex(); });
  }
  if (complex) {
    return std::nullopt;  // many kernels refuse it, and the plan does not know which
  }
  const KeptWarnings silent;
  try {
    op.redispatchBoxed(kMeta, &stack);
  } catch (python_error& error) {
    // Some plans are Python functions, in which the user may interrupt.
    const pybind11::gil_scoped_acquire gil;
    error.persist();
    if (PyErr_GivenExceptionMatches(error.type, PyExc_KeyboardInterrupt) != 0) {
      throw;
    }
    return std::nullopt;
  } catch (const pybind11::error_already_set& error) {
    const pybind11::gil_scoped_acquire gil;
    if (error.matches(PyExc_KeyboardInterrupt)) {
      throw;
    }
    return std::nullopt;
  } catch (const std::exception&) {
    return std::nullopt;  // no kernel for it, or an error, which the kernel itself will raise
  }
  if (has_forgotten_to_resize(op, arguments, meta)) {
    return std::nullopt;
  }
  return stack;
}

/// Whether a tensor will be resized whose memory another argument has too: overlap is checked before that is done.
bool resizes_shared_memory(const Stack& arguments, StandIns& meta) {
  std::map<const void*, std::set<const c10::TensorImpl*>> sharers;
  bool is_resized = false;
  for (const c10::IValue& value : arguments) {
    visit_tensors(value, [&](const at::Tensor& tensor) {
      if (tensor.defined() && tensor.is_mps()) {
        sharers[tensor.storage().data()].insert(tensor.unsafeGetTensorImpl());
        is_resized |= meta.of(tensor).sizes() != tensor.sizes();
      }
    });
  }
  return is_resized && std::any_of(sharers.begin(), sharers.end(),
                                   [](const auto& one) { return one.first != nullptr && one.second.size() > 1; });
}

/// What was resized as a meta tensor is resized here.
void resize_as_planned(const Stack& arguments, StandIns& meta) {
  for (const c10::IValue& value : arguments) {
    visit_tensors(value, [&](const at::Tensor& tensor) {
      if (tensor.defined() && tensor.is_mps()) {
        const at::Tensor planned = meta.of(tensor);
        if (planned.sizes() != tensor.sizes()) {
          resize_tensor(tensor, planned.sizes(), planned.strides());
        }
      }
    });
  }
}

at::Tensor like(const at::Tensor& planned) {
  TORCH_CHECK_NOT_IMPLEMENTED(!planned.defined() || planned.layout() == c10::kStrided, "results of layout ",
                              planned.layout(), " are not supported on the simulated MPS");
  return planned.defined() ? empty_tensor(planned.sizes(), planned.strides(), planned.scalar_type()) : planned;
}

/// MPS results for what a plan, or a kernel that has run, says; in-place results are the arguments.
Stack new_results(const Operator& op, const Stack& arguments, const Stack& model) {
  Stack results;
  for (size_t i = 0; i < model.size(); ++i) {
    if (const auto argument = argument_returned(op, i)) {
      results.push_back(arguments[*argument]);
    } else if (model[i].isTensor()) {
      results.emplace_back(like(model[i].toTensor()));
    } else if (model[i].isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : model[i].toTensorVector()) {
        list.push_back(like(tensor));
      }
      results.emplace_back(std::move(list));
    } else {
      results.push_back(model[i]);
    }
  }
  return results;
}

void copy_values(const c10::IValue& to, const c10::IValue& from) {
  if (to.isTensor() && to.toTensor().defined()) {
    if (!to.toTensor().is_same(from.toTensor())) {
      to.toTensor().copy_(from.toTensor());
    }
  } else if (to.isTensorList()) {
    const auto targets = to.toTensorVector();
    const auto sources = from.toTensorVector();
    for (size_t i = 0; i < targets.size(); ++i) {
      copy_values(targets[i], sources[i]);
    }
  }
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

/// The generator's numbers are drawn from when the work is submitted, as Metal kernels take its state by value.
void draw_generators(const Operator& op, Stack& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (is_generator(op.schema().arguments()[i])) {
      arguments[i] = host_generator(arguments[i].isNone() ? std::nullopt : std::optional(arguments[i].toGenerator()));
    }
  }
}

/// What TensorIterator checks when it is configured, which is not late.
void check_overlap(const Operator& op, const Stack& arguments) {
  if (!op.hasTag(at::Tag::pointwise)) {
    return;
  }
  const auto& formals = op.schema().arguments();
  for (size_t i = 0; i < formals.size(); ++i) {
    const bool is_written = formals[i].alias_info() != nullptr && formals[i].alias_info()->isWrite();
    if (!is_written || !arguments[i].isTensor()) {
      continue;
    }
    const at::Tensor& written = arguments[i].toTensor();
    at::assert_no_internal_overlap(written);
    for (const c10::IValue& value : arguments) {
      visit_tensors(value, [&](const at::Tensor& tensor) {
        if (tensor.defined() && !tensor.is_same(written)) {
          at::assert_no_partial_overlap(written, tensor);
        }
      });
    }
  }
}

/// What an out= operator has resized on the host.
void take_over_sizes(const Stack& arguments, StandIns& host) {
  for (const c10::IValue& value : arguments) {
    visit_tensors(value, [&](const at::Tensor& tensor) {
      if (tensor.defined() && tensor.is_mps() && host.of(tensor).sizes() != tensor.sizes()) {
        const at::Tensor resized = host.of(tensor);
        resize_tensor(tensor, resized.sizes(), resized.strides());
        StandIns fresh(StandIns::Kind::kHost);
        const at::Tensor target = fresh.of(tensor);
        queue().run_now([&] { target.copy_(resized); });
      }
    });
  }
}

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

struct Trial {
  bool may_be_late = false;
  std::vector<c10::Warning> warnings;
};

/// Metal's kernels raise nothing once they run, so what a call may raise, or warn of, must be known when it is made.
/// The first call of each kind is tried on zeros, aside of the queue. What the CPU's kernel does not implement, MPS
/// refuses now. What fails otherwise, perhaps because of the zeros, or gives other results than was planned, is not
/// done late.
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

void run(const Operator& op, Stack* stack) {
  const size_t count = op.schema().arguments().size();
  if (resting) {
    torch::jit::drop(*stack, count - 1);
    return;
  }
  const Stack arguments(stack->end() - static_cast<std::ptrdiff_t>(count), stack->end());
  check_arguments(op, arguments);
  check_overlap(op, arguments);
  StandIns meta(StandIns::Kind::kMeta);
  const Trial& trial = tried(op, arguments);
  std::optional<Stack> planned = trial.may_be_late ? plan(op, arguments, meta) : std::nullopt;
  if (planned.has_value() && resizes_shared_memory(arguments, meta)) {
    planned.reset();
  }
  StandIns host(StandIns::Kind::kHost);
  Stack results;
  if (planned.has_value()) {
    for (const c10::Warning& warning : trial.warnings) {
      c10::warn(warning);
    }
    resize_as_planned(arguments, meta);
    results = new_results(op, arguments, *planned);
    Stack on_host = replaced(arguments, host);
    draw_generators(op, on_host);
    Stack targets;
    for (const c10::IValue& result : results) {
      targets.push_back(host.of(result));
    }
    // `host` keeps the storages: their memory is the buffers', which outlive their tensors.
    queue().submit([op, on_host = std::move(on_host), targets = std::move(targets)]() mutable {
      run_on_host(op, on_host);
      for (size_t i = 0; i < targets.size(); ++i) {
        copy_values(targets[i], on_host[i]);
      }
    });
  } else {
    Stack on_host = replaced(arguments, host);
    draw_generators(op, on_host);
    queue().run_now([&] { run_on_host(op, on_host); });
    take_over_sizes(arguments, host);
    results = new_results(op, arguments, on_host);
    Stack targets;
    for (const c10::IValue& result : results) {
      targets.push_back(host.of(result));
    }
    queue().run_now([&] {
      for (size_t i = 0; i < targets.size(); ++i) {
        copy_values(targets[i], on_host[i]);
      }
    });
  }
  torch::jit::drop(*stack, count);
  stack->insert(stack->end(), results.begin(), results.end());
}

void refuse(const Operator& op, Stack*) {
  ++refusals;
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "The operator '", op.schema().operator_name(),
      "' is not currently implemented for the MPS device. If you want this op to be considered for addition please "
      "comment on https://github.com/pytorch/pytorch/issues/141287 and mention use-case, that resulted in missing op "
      "as "
      "well as commit hash simulated. As a temporary fix, you can set the environment variable "
      "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op. WARNING: this will be slower than "
      "running natively on MPS.");
}

void torchs_fallback(const Operator& op, Stack* stack) { at::native::cpu_fallback(op, stack); }

}  // namespace

void install_kernels() {
  // Leaked: kernels live as long as the process.
  auto* all = new torch::Library(torch::Library::IMPL, "_", c10::DispatchKey::MPS, __FILE__, __LINE__);
  all->fallback(torch::CppFunction::makeFromBoxedFunction<&refuse>());
  auto* aten = new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::MPS, __FILE__, __LINE__);
  const std::set<std::string> by_hand = implement_by_hand(*aten);
  for (const std::string name : kOperators) {
    if (!by_hand.contains(name) && !kTorchsFallbacks.contains("aten::" + name)) {
      aten->impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&run>());
    }
  }
  for (const std::string& name : kTorchsFallbacks) {
    aten->impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&torchs_fallback>());
  }
  // Convolution on MPS is compiled into torch for macOS only; elsewhere it comes out here.
  for (const char* name : {"convolution_overrideable", "convolution_backward_overrideable"}) {
    aten->impl(name, torch::CppFunction::makeFromBoxedFunction<&run>());
  }
}

}  // namespace mps_simulator
