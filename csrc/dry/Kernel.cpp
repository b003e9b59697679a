// dry/Kernel.cpp: the boxed kernel of a dry run, and the record of what it was called for.

#include "dry/Kernel.h"

#include <ATen/PythonTorchFunctionTLS.h>
#include <c10/core/GradMode.h>
#include <c10/util/ScopeExit.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "dry/HostReads.h"
#include "dry/Outcome.h"
#include "forward/AliasPool.h"
#include "forward/DeviceRule.h"
#include "forward/ErrorText.h"
#include "runtime/CaptureKey.h"

namespace torchdevice::dry {
namespace {

constexpr c10::DispatchKeySet kMeta{c10::DispatchKey::Meta};

/// All calls of one kind.
struct Kind {
  Outcome outcome;
  torch::jit::Stack arguments;
  torch::jit::Stack results;
  c10::DeviceIndex device = 0;
  uint64_t count = 0;
  uint64_t before_step = 0;  ///< when the step began that is underway
  uint64_t in_step = 0;      ///< in the one before it
};

/// All calls of an operator.
struct Operator {
  explicit Operator(const c10::OperatorHandle& op) : handle(op) {}
  const c10::OperatorHandle handle;
  std::unordered_map<std::string, std::unique_ptr<Kind>> kinds;
};

struct Record {
  std::mutex lock;
  std::unordered_map<c10::OperatorName, std::unique_ptr<Operator>> operators;
};

/// Leaked: threads may still work when the process ends.
Record& record() {
  static auto* const record = new Record();
  return *record;
}

Operator& operator_of(Record& record, const c10::OperatorHandle& op) {
  auto& known = record.operators[op.operator_name()];
  if (known == nullptr) {
    known = std::make_unique<Operator>(op);
  }
  return *known;
}

/// Null where nobody has made such a call. Kinds are never forgotten.
const Kind* find_kind(const c10::OperatorHandle& op, const Call& call) {
  Record& all = record();
  const std::lock_guard<std::mutex> guard(all.lock);
  auto& kinds = operator_of(all, op).kinds;
  const auto known = kinds.find(call.key());
  if (known == kinds.end()) {
    return nullptr;
  }
  ++known->second->count;
  return known->second.get();
}

const Kind& keep_kind(const c10::OperatorHandle& op, const Call& call, Kind&& kind) {
  Record& all = record();
  const std::lock_guard<std::mutex> guard(all.lock);
  auto& kept = operator_of(all, op).kinds[call.key()];
  if (kept == nullptr) {
    kept = std::make_unique<Kind>(std::move(kind));
  }
  ++kept->count;
  return *kept;
}

/// `why` ends with its first sentence.
[[noreturn]] void raise_without_shapes(const c10::OperatorHandle& op, std::string why) {
  why.resize(std::min(why.size(), why.find(". ")));
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "A dry run cannot work out what '", op.operator_name(), "' returns: ", why,
      ". Register a kernel that says the shapes of its results, with torch.library.register_fake(\"",
      op.operator_name().name, "\"), or run the program without `torchdevice fit`.");
}

/// The operator on tensors without data. Whatever surrounds the program's call, such as a default device, is not for
/// what a Meta kernel does inside.
torch::jit::Stack ask_meta(const c10::OperatorHandle& op, torch::jit::Stack arguments) {
  if (!op.hasComputedKernelForDispatchKey(c10::DispatchKey::Meta)) {
    raise_without_shapes(op, "it has no Meta kernel");
  }
  const c10::AutoGradMode no_gradients(false);
  const at::impl::TorchFunctionDisabledState before = at::impl::PythonTorchFunctionTLS::get_disabled_state();
  at::impl::PythonTorchFunctionTLS::set_disabled_state(at::impl::TorchFunctionDisabledState::ALL_DISABLED);
  const auto restore = c10::make_scope_exit([before] { at::impl::PythonTorchFunctionTLS::set_disabled_state(before); });
  try {
    op.redispatchBoxed(kMeta, &arguments);
  } catch (const c10::NotImplementedError& error) {
    raise_without_shapes(op, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    forward::throw_cuda_text(error, op.operator_name().name);
  }
  return arguments;
}

using ComputingKernels = std::unordered_map<c10::OperatorName, c10::KernelFunction>;

/// Leaked, as torch's dispatcher is; written at activation only.
ComputingKernels& computing_kernels() {
  static auto* const kernels = new ComputingKernels();
  return *kernels;
}

/// To be called in a handler of the Meta kernel's error: raises the other kernel's. Checks come before work there.
void raise_as_computed(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack arguments) {
  const auto known = computing_kernels().find(op.operator_name());
  if (known != computing_kernels().end()) {
    known->second.callBoxed(op, keys, &arguments);
  }
}

torch::jit::Stack shapes_of_results(const c10::OperatorHandle& op, c10::DispatchKeySet keys, const Call& call,
                                    c10::ArrayRef<c10::IValue> arguments, const std::vector<at::Tensor>& metas) {
  try {
    return ask_meta(op, call.meta_arguments(arguments, metas));
  } catch (const c10::NotImplementedError&) {
    throw;
  } catch (const std::exception&) {
    raise_as_computed(op, keys, arguments.vec());
    throw;
  }
}

Kind make_kind(const Call& call, c10::ArrayRef<c10::IValue> arguments, const std::vector<at::Tensor>& metas,
               torch::jit::Stack results) {
  Kind kind;
  kind.outcome = Outcome(call, metas, results);
  kind.arguments = call.meta_arguments(arguments, metas);
  kind.results = std::move(results);
  kind.device = call.device();
  return kind;
}

void finish(const c10::OperatorHandle& op, torch::jit::Stack* stack, const Call& call, const Kind& kind) {
  torch::jit::Stack results = kind.outcome.apply(call);
  forget_values(op, *stack, results);
  torch::jit::drop(*stack, op.schema().arguments().size());
  std::move(results.begin(), results.end(), std::back_inserter(*stack));
}

void see_in(const c10::IValue& value, int position, bool written, std::vector<forward::SeenTensor>& seen) {
  if (value.isTensor()) {
    seen.push_back({position, value.toTensor(), written});
  } else if (value.isTensorList() || value.isOptionalTensorList()) {
    for (const c10::IValue& one : value.toListRef()) {
      see_in(one, position, written, seen);
    }
  }
}

}  // namespace

void check_devices_of(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> arguments) {
  const std::string& name = op.operator_name().name;
  const bool takes_host_indices = name.starts_with("aten::index") || name.starts_with("aten::_index_put") ||
                                  name.starts_with("aten::_unsafe_index");
  static constexpr forward::Rule kUsual{.mixing = forward::Mixing::kTensorIterator};
  static constexpr forward::Rule kIndexing{.mixing = forward::Mixing::kIndices};
  std::vector<forward::SeenTensor> seen;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const c10::AliasInfo* alias = op.schema().arguments()[i].alias_info();
    see_in(arguments[i], static_cast<int>(i), alias != nullptr && alias->isWrite(), seen);
  }
  forward::check_devices(takes_host_indices ? kIndexing : kUsual, seen);
}

void run(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  if (must_pass_capture_key()) {
    op.redispatchBoxed(keys | c10::DispatchKeySet(kCaptureKey), stack);
    return;
  }
  static_cast<void>(forward::alias_pool());  // a thread's first call keeps its backward passes on it
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  const Call call(op.schema(), arguments);
  if (call.is_mixed()) {
    check_devices_of(op, arguments);
  }
  const Kind* kind = find_kind(op, call);
  if (kind == nullptr) {
    const std::vector<at::Tensor> metas = call.metas();
    torch::jit::Stack results = shapes_of_results(op, keys, call, arguments, metas);
    kind = &keep_kind(op, call, make_kind(call, arguments, metas, std::move(results)));
  }
  finish(op, stack, call, *kind);
}

void keep_computing_kernel(const c10::OperatorName& name, c10::KernelFunction&& kernel) {
  computing_kernels().insert_or_assign(name, std::move(kernel));
}

void run_with(const c10::OperatorHandle& op, torch::jit::Stack* stack, const Call& call,
              const torch::jit::Stack& results) {
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  const Kind* kind = find_kind(op, call);
  if (kind == nullptr) {
    kind = &keep_kind(op, call, make_kind(call, arguments, call.metas(), results));
  }
  finish(op, stack, call, *kind);
}

void run_without_results(const c10::OperatorHandle& op, c10::DispatchKeySet /*keys*/, torch::jit::Stack* stack) {
  run_with(op, stack, Call(op.schema(), torch::jit::last(*stack, op.schema().arguments().size())), {});
}

void end_step() {
  Record& all = record();
  const std::lock_guard<std::mutex> guard(all.lock);
  for (const auto& [name, op] : all.operators) {
    for (const auto& [key, kind] : op->kinds) {
      kind->in_step = kind->count - kind->before_step;
      kind->before_step = kind->count;
    }
  }
}

std::vector<RecordedCall> recorded_calls() {
  Record& all = record();
  const std::lock_guard<std::mutex> guard(all.lock);
  std::vector<RecordedCall> calls;
  for (const auto& [name, op] : all.operators) {
    for (const auto& [key, kind] : op->kinds) {
      calls.push_back({&op->handle, kind->device, kind->count, kind->in_step, &kind->arguments, &kind->results});
    }
  }
  return calls;
}

}  // namespace torchdevice::dry
