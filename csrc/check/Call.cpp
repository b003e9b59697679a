// check/Call.cpp: the tensors of one call of an operator.

#include "check/Call.h"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>

namespace torchdevice::check {
namespace {

// Note [What is observed]
// Operators come from torch's own observer, at::RecordFunction, which sees each call of the dispatcher. The same
// operator may pass it several times: as the part of a composite operator, below functorch, a Python mode or autocast.
// The call that counts is the one that goes down to a kernel for CUDA: the operator has one, and nothing above will
// call the operator again. What that kernel calls is its own affair.

constexpr c10::DispatchKeySet kCallsAgain{
    c10::DispatchKey::Python,           c10::DispatchKey::FuncTorchDynamicLayerFrontMode,
    c10::DispatchKey::FuncTorchBatched, c10::DispatchKey::FuncTorchGradWrapper,
    c10::DispatchKey::Functionalize,    c10::DispatchKey::FuncTorchVmapMode,
    c10::DispatchKey::PreDispatch,
};

}  // namespace

void Call::see(const c10::IValue& value, size_t number) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined()) {
      return;
    }
    const c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
    keys_ = keys_ | impl.key_set();
    if (impl.is_cuda() && std::ranges::find(devices_, impl.device().index()) == devices_.end()) {
      devices_.push_back(impl.device().index());
    }
    has_memory_ &= impl.layout() == c10::kStrided && impl.has_storage();
    tensors_.push_back({&tensor, number});
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) {
      see(element, number);
    }
  }
}

void Call::see(c10::ArrayRef<c10::IValue> arguments, const Operator& op) {
  for (size_t i = 0; i < arguments.size() && i < op.arguments.size(); ++i) {
    see(arguments[i], i);
  }
}

bool Call::reaches_kernel(const Operator& op) const {
  const c10::impl::LocalDispatchKeySet local = c10::impl::tls_local_dispatch_key_set();
  const c10::DispatchKeySet all = (keys_ | local.included_) - local.excluded_;
  return op.has_kernel && has_memory_ && !all.has_any(kCallsAgain) &&
         !(op.is_cast_by_autocast && all.has(c10::DispatchKey::AutocastCUDA));
}

}  // namespace torchdevice::check
