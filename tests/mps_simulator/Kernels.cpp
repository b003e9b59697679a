// Kernels.cpp: the operators that torch's MPS backend has, done by the CPU's kernels, late.

#include <ATen/MemoryOverlap.h>
#include <ATen/native/CPUFallback.h>
#include <torch/library.h>

#include <optional>
#include <set>
#include <string>

#include "ByHand.h"
#include "Generator.h"
#include "Plans.h"
#include "Queue.h"
#include "Simulator.h"
#include "Tensors.h"
#include "Trials.h"
#include "Wrong.h"

namespace mps_simulator {
namespace {

/// Names of torch's operators with an MPS kernel, from native_functions.yaml of the torch that is installed.
const char* const kOperators[] = {
#include "operators.inc"
};

/// For these torch registers a kernel that copies to the CPU and back.
const std::set<std::string> kTorchsFallbacks{"aten::embedding_renorm_", "aten::linalg_svd", "aten::linalg_svd.U",
                                             "aten::col2im", "aten::upsample_nearest3d.vec"};

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

void run_and_err(const Operator& op, Stack& stack, bool wrong) {
  const Stack arguments = wrong ? stack : Stack();
  run_on_host(op, stack);
  if (wrong) {
    spoil_results(op, arguments, stack);
  }
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
  if (errs && leaves_out(op, arguments)) {
    torch::jit::drop(*stack, count);
    stack->push_back(arguments.back());
    return;
  }
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
    if (errs) {
      spoil_arguments(op, on_host);
    }
    Stack targets;
    for (const c10::IValue& result : results) {
      targets.push_back(host.of(result));
    }
    // `host` keeps the storages: their memory is the buffers', which outlive their tensors.
    queue().submit([op, on_host = std::move(on_host), targets = std::move(targets), wrong = errs.load()]() mutable {
      run_and_err(op, on_host, wrong);
      for (size_t i = 0; i < targets.size(); ++i) {
        copy_values(targets[i], on_host[i]);
      }
    });
  } else {
    Stack on_host = replaced(arguments, host);
    draw_generators(op, on_host);
    if (errs) {
      spoil_arguments(op, on_host);
    }
    queue().run_now([&] { run_and_err(op, on_host, errs); });
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
