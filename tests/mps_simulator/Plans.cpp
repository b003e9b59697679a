// Plans.cpp: what a call will return and resize, as the meta device says before it is done.

#include "Plans.h"

#include <torch/csrc/Exceptions.h>

#include <algorithm>
#include <map>
#include <set>

#include "Warnings.h"

namespace mps_simulator {
namespace {

const c10::DispatchKeySet kMeta(c10::DispatchKey::Meta);

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

}  // namespace

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

}  // namespace mps_simulator
