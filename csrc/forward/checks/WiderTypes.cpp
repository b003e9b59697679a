// forward/checks/WiderTypes.cpp: operators whose CUDA kernels know narrow types that the native ones do not, computed
// in wider ones.

#include "forward/checks/WiderTypes.h"

#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace torchdevice::forward {
namespace {

at::ScalarType wider(at::ScalarType narrow) {
  switch (narrow) {
    case at::kHalf:
    case at::kBFloat16:
      return at::kFloat;
    case at::kComplexHalf:
      return at::kComplexFloat;
    case at::kBool:
      return at::kByte;
    default:
      return at::kDouble;
  }
}

/// What a result of the type `wide` has on CUDA where the widened argument had the type `narrow`.
at::ScalarType narrowed(at::ScalarType wide, at::ScalarType narrow) {
  const bool is_half = narrow == at::kHalf || narrow == at::kComplexHalf;
  if (is_half && wide == at::kFloat) {
    return at::kHalf;
  }
  if (is_half && wide == at::kComplexFloat) {
    return at::kComplexHalf;
  }
  return wide == wider(narrow) ? narrow : wide;
}

}  // namespace

void run_wider(const c10::OperatorHandle& op, torch::jit::Stack& stack, std::span<const at::ScalarType> narrow) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const auto& formals = op.schema().arguments();
  const size_t first = stack.size() - formals.size();
  std::vector<std::pair<at::Tensor, at::Tensor>> written;  // the caller's, and what stands for it
  at::ScalarType type = at::ScalarType::Undefined;
  c10::DispatchKey key = c10::DispatchKey::CUDA;
  for (size_t i = 0; i < formals.size(); ++i) {
    c10::IValue& value = stack[first + i];
    if (!value.isTensor() || !value.toTensor().defined()) {
      continue;
    }
    const at::Tensor tensor = value.toTensor();
    if (tensor.is_sparse()) {
      key = c10::DispatchKey::SparseCUDA;
    }
    if (std::find(narrow.begin(), narrow.end(), tensor.scalar_type()) == narrow.end()) {
      continue;
    }
    type = tensor.scalar_type();
    value = tensor.to(wider(type));
    if (formals[i].alias_info() != nullptr && formals[i].alias_info()->isWrite()) {
      written.emplace_back(tensor, value.toTensor());
    }
  }
  op.redispatchBoxed(c10::DispatchKeySet(key), &stack);
  for (const auto& [tensor, wide] : written) {
    if (!tensor.is_sparse()) {
      tensor.resize_(wide.sizes());
    }
    tensor.copy_(wide);
  }
  for (size_t i = stack.size() - op.schema().returns().size(); i < stack.size(); ++i) {
    if (!stack[i].isTensor() || !stack[i].toTensor().defined()) {
      continue;
    }
    const at::Tensor result = stack[i].toTensor();
    const auto caller =
        std::find_if(written.begin(), written.end(), [&](const auto& pair) { return pair.second.is_same(result); });
    stack[i] = caller != written.end() ? caller->first : result.to(narrowed(result.scalar_type(), type));
  }
}

}  // namespace torchdevice::forward
