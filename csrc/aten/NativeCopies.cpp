// aten/NativeCopies.cpp: copies between "cuda" tensors and those of the native device, which are memory of one device.
// Torch asks the native kernel, whose key comes before CUDA's in a set; it does not know CUDA's tensors, and CUDA's
// kernel knows both.

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/copy_ops.h>

#include "forward/Registrar.h"
#include "native/Backend.h"

namespace torchdevice::aten {
namespace {

using Op = at::_ops::copy_;

class NativeCopy final : public c10::OperatorKernel {
 public:
  explicit NativeCopy(c10::SafeKernelFunction torchs) : torchs_(std::move(torchs)) {}

  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
    const auto arguments = torch::jit::last(*stack, 3);
    if (arguments[0].toTensor().is_cuda() || arguments[1].toTensor().is_cuda()) {
      op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CUDA), stack);
    } else {
      torchs_.callBoxed(op, keys, stack);
    }
  }

 private:
  const c10::SafeKernelFunction torchs_;
};

}  // namespace

void register_native_copies(forward::Registrar& registrar) {
  if (!forward::has_fallback()) {
    return;
  }
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(Op::name, Op::overload_name);
  const auto key = c10::toRuntimePerBackendFunctionalityKey(c10::DispatchKey::Dense, native_backend().component());
  registrar.add(
      {Op::name, Op::overload_name}, key,
      c10::KernelFunction::makeFromBoxedFunctor(std::make_unique<NativeCopy>(op.getComputedKernelForDispatchKey(key))));
}

}  // namespace torchdevice::aten
