// forward/fallback/Remedies.cpp: what is done where the native backend is known to be wrong.

#include "forward/fallback/Remedies.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "forward/fallback/NativeKernels.h"
#include "native/Backend.h"

namespace torchdevice::forward {
namespace {

struct Remedies {
  std::vector<void (*)(DoubtfulCall& call)> rules;
  KnownWrong::Guard guard = nullptr;
};

const std::unordered_map<std::string, Remedies>& all_remedies() {
  static const auto* const all = [] {
    auto* by_name = new std::unordered_map<std::string, Remedies>();
    for (const KnownWrong& rule : native_backend().known_wrong()) {
      for (const KnownWrong::Operator& op : rule.operators) {
        Remedies& remedies = (*by_name)[op.name];
        TORCH_INTERNAL_ASSERT(remedies.rules.empty() || remedies.guard == op.guard, "two guards of ", op.name);
        remedies.rules.push_back(rule.run);
        remedies.guard = op.guard;
      }
    }
    return by_name;
  }();
  return *all;
}

thread_local bool wants_host = false;

class ToHost {
 public:
  ToHost() : before_(std::exchange(wants_host, true)) {}
  ~ToHost() { wants_host = before_; }
  ToHost(const ToHost&) = delete;
  ToHost& operator=(const ToHost&) = delete;

 private:
  const bool before_;
};

class RemediedCall final : public DoubtfulCall {
 public:
  RemediedCall(const Remedies& remedies, const c10::KernelFunction& kernel, const c10::OperatorHandle& op,
               c10::DispatchKeySet keys, torch::jit::Stack arguments)
      : remedies_(remedies), kernel_(kernel), op_(op), keys_(keys), stack_(std::move(arguments)) {}

  const c10::OperatorHandle& op() const override { return op_; }
  torch::jit::Stack& stack() override { return stack_; }
  void go_on() override {
    if (next_ < remedies_.rules.size()) {
      remedies_.rules[next_++](*this);
    } else {
      kernel_.callBoxed(op_, keys_, &stack_);
    }
  }
  void go_to_host() override {
    const ToHost to_host;
    kernel_.callBoxed(op_, keys_, &stack_);
  }

 private:
  const Remedies& remedies_;
  const c10::KernelFunction& kernel_;
  const c10::OperatorHandle& op_;
  const c10::DispatchKeySet keys_;
  torch::jit::Stack stack_;
  size_t next_ = 0;
};

class Remedied final : public c10::OperatorKernel {
 public:
  Remedied(const Remedies& remedies, c10::KernelFunction kernel) : remedies_(remedies), kernel_(std::move(kernel)) {}

  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const auto first = stack->end() - static_cast<std::ptrdiff_t>(op.schema().arguments().size());
    RemediedCall call(remedies_, kernel_, op, keys, torch::jit::Stack(first, stack->end()));
    stack->erase(first, stack->end());
    call.go_on();
    stack->insert(stack->end(), call.stack().begin(), call.stack().end());
  }

 private:
  const Remedies& remedies_;
  const c10::KernelFunction kernel_;
};

}  // namespace

c10::KernelFunction with_remedies(const c10::OperatorName& name, c10::KernelFunction kernel) {
  if (all_remedies().empty()) {
    return kernel;
  }
  const auto found = all_remedies().find(full_name(name.name.c_str(), name.overload_name.c_str()));
  if (found == all_remedies().end()) {
    return kernel;
  }
  const Remedies& remedies = found->second;
  auto doubtful = c10::KernelFunction::makeFromBoxedFunctor(std::make_unique<Remedied>(remedies, kernel));
  return remedies.guard != nullptr ? remedies.guard(kernel, doubtful) : std::move(doubtful);
}

bool has_remedies(const std::string& full_name) { return all_remedies().contains(full_name); }

bool remedy_wants_host() noexcept { return wants_host; }

}  // namespace torchdevice::forward
