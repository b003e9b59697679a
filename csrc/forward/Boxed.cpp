// forward/Boxed.cpp: the fallback for operators that other libraries register: the typed kernel's work on a stack.

#include "forward/Boxed.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <iterator>

#include "forward/Argument.h"
#include "forward/ErrorText.h"
#include "forward/Registrar.h"
#include "forward/fallback/Fallback.h"

namespace torchdevice::forward {
namespace {

bool is_list_of_tensor_lists(const c10::IValue& value) {
  return value.isList() && *value.toList().elementType() == *c10::ListType::ofTensors();
}

bool holds_tensors(const c10::IValue& value) {
  return value.isTensor() || value.isTensorList() || value.isOptionalTensorList() || is_list_of_tensor_lists(value);
}

/// The native counterpart of one argument.
c10::IValue pass_value(Frame& frame, const c10::IValue& value, bool written) {
  if (value.isTensor()) {
    return frame.pass(value.toTensor(), written);
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> natives;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      natives.push_back(frame.pass(tensor, written));
    }
    return natives;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> natives;
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
      natives.push_back(tensor.has_value() ? std::optional(frame.pass(*tensor, written)) : std::nullopt);
    }
    return natives;
  }
  if (is_list_of_tensor_lists(value)) {
    c10::impl::GenericList natives(c10::ListType::ofTensors());
    for (const c10::IValue& list : value.toList()) {
      natives.push_back(pass_value(frame, list, written));
    }
    return natives;
  }
  return value;
}

c10::IValue pass_factory_value(Frame& frame, const c10::Argument& argument, const c10::IValue& value) {
  const c10::Type& type = argument.type()->kind() == c10::TypeKind::OptionalType
                              ? *argument.type()->castRaw<c10::OptionalType>()->getElementType()
                              : *argument.type();
  if (type.kind() == c10::TypeKind::DeviceObjType && value.isDevice() && value.toDevice().is_cuda()) {
    frame.set_device(factory_device(value.toDevice()));
    return frame.native().native_device;
  }
  if (value.isGenerator() && value.toGenerator().device().is_cuda()) {
    return native_generator(value.toGenerator(), frame.device_index());
  }
  return value;
}

void see_value(const c10::IValue& value, int position, bool written, std::vector<SeenTensor>& seen) {
  if (value.isTensor()) {
    seen.push_back({position, value.toTensor(), written});
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) {
      seen.push_back({position, tensor, written});
    }
  } else if (value.isOptionalTensorList()) {
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
      if (tensor.has_value()) {
        seen.push_back({position, *tensor, written});
      }
    }
  } else if (is_list_of_tensor_lists(value)) {
    for (const c10::IValue& list : value.toList()) {
      see_value(list, position, written, seen);
    }
  }
}

void commit_value(Frame& frame, const c10::IValue& value) {
  if (value.isTensor()) {
    frame.commit(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) {
      frame.commit(tensor);
    }
  } else if (is_list_of_tensor_lists(value)) {
    for (const c10::IValue& list : value.toList()) {
      commit_value(frame, list);
    }
  }
}

c10::IValue adopt_value(Frame& frame, c10::IValue&& value) {
  if (value.isTensor()) {
    return frame.adopted(std::move(value).toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> adopted;
    for (at::Tensor& tensor : value.toTensorVector()) {
      adopted.push_back(frame.adopted(std::move(tensor)));
    }
    return adopted;
  }
  if (is_list_of_tensor_lists(value)) {
    c10::impl::GenericList adopted(c10::ListType::ofTensors());
    for (const c10::IValue& list : value.toList()) {
      adopted.push_back(adopt_value(frame, c10::IValue(list)));
    }
    return adopted;
  }
  return std::move(value);
}

bool is_written(const c10::Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}

/// Kernels on sparse tensors (sparse.mm with a reduction) look whether an argument requires grad, to keep what their
/// derivative needs. Aliases do not say, so those of sparse tensors are told for all arguments.
void tell_who_wants_gradients(const std::vector<c10::IValue>& arguments, torch::jit::Stack& stack, size_t first) {
  const auto wants = [](const c10::IValue& value) {
    return value.isTensor() && value.toTensor().defined() && value.toTensor().requires_grad();
  };
  if (!c10::GradMode::is_enabled() || std::none_of(arguments.begin(), arguments.end(), wants)) {
    return;
  }
  for (size_t i = first; i < stack.size(); ++i) {
    const bool is_sparse =
        stack[i].isTensor() && stack[i].toTensor().defined() && stack[i].toTensor().layout() != c10::kStrided;
    if (is_sparse && at::isFloatingType(stack[i].toTensor().scalar_type())) {
      stack[i].toTensor().set_requires_grad(true);
    }
  }
}

/// The keys of the device type that works, for tensors of one kind: dense, sparse ...
c10::DispatchKeySet native_keys(c10::DispatchKey functionality, uint64_t backend_bit) {
  return c10::DispatchKeySet(functionality) | c10::DispatchKeySet(c10::DispatchKeySet::RAW, backend_bit);
}

template <c10::DispatchKey functionality>
void forward_to_side(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Masquerade& side = alias_pool().native();
  const c10::DispatchKeySet native = native_keys(functionality, side.native_backend_bit);
  TORCH_CHECK_NOT_IMPLEMENTED(
      op.hasComputedKernelForDispatchKey(native.highestPriorityTypeId()), "Could not run '", op.operator_name(),
      "' with arguments from the 'CUDA' backend: it has neither a CUDA kernel nor a ", side.native_device,
      " kernel that torchdevice could forward to. Register one of them, for instance with torch.library.impl.");
  const auto& formals = op.schema().arguments();
  const size_t first = stack->size() - formals.size();
  std::vector<c10::IValue> arguments(stack->begin() + static_cast<std::ptrdiff_t>(first), stack->end());

  Frame frame;
  for (size_t i = 0; i < formals.size(); ++i) {
    (*stack)[first + i] = pass_value(frame, arguments[i], is_written(formals[i]));
  }
  for (size_t i = 0; i < formals.size(); ++i) {
    if (!holds_tensors(arguments[i])) {
      (*stack)[first + i] = pass_factory_value(frame, formals[i], arguments[i]);
    }
  }
  const bool copies_between_devices = op.operator_name().name == "aten::copy_";
  if (frame.has_foreign_tensor() && !copies_between_devices) {
    static constexpr Rule kRule{Mixing::kTensorIterator};
    std::vector<SeenTensor> seen;
    for (size_t i = 0; i < formals.size(); ++i) {
      see_value(arguments[i], static_cast<int>(i), is_written(formals[i]), seen);
    }
    check_devices(kRule, seen);
  }
  if constexpr (functionality == c10::DispatchKey::Sparse || functionality == c10::DispatchKey::SparseCsr) {
    tell_who_wants_gradients(arguments, *stack, first);
  }
  frame.enter();
  try {
    op.redispatchBoxed(native, stack);
  } catch (const c10::Error& error) {
    throw_cuda_text(error, op.operator_name().name);
  }

  for (size_t i = 0; i < formals.size(); ++i) {
    if (is_written(formals[i])) {
      commit_value(frame, arguments[i]);
    }
  }
  for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
    (*stack)[i] = adopt_value(frame, std::move((*stack)[i]));
  }
}

void see_in_call(const c10::IValue& value, bool written, CallKind& call) {
  if (value.isTensor()) {
    call.see(value.toTensor(), written);
  } else if (value.isTensorList() || value.isOptionalTensorList() || is_list_of_tensor_lists(value)) {
    for (const c10::IValue& one : value.toListRef()) {
      see_in_call(one, written, call);
    }
  } else if (value.isBool()) {
    call.see(value.toBool());
  } else if (value.isInt()) {
    call.see(value.toInt());
  } else if (value.isString()) {
    call.see(std::string_view(value.toStringRef()));
  }
}

/// As Functor does for typed kernels. Operators on other kinds of tensors are above the key that captures pass.
template <c10::DispatchKey functionality>
bool passes_capture_key(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  if constexpr (functionality == c10::DispatchKey::Dense || functionality == c10::DispatchKey::Quantized) {
    if (C10_UNLIKELY(must_pass_capture_key())) {
      op.redispatchBoxed(native_keys(functionality, kCudaBackendBit) | c10::DispatchKeySet(kCaptureKey), stack);
      return true;
    }
  }
  return false;
}

template <c10::DispatchKey functionality>
void forward_boxed(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  if (passes_capture_key<functionality>(op, stack)) {
    return;
  }
  if (C10_LIKELY(!has_choice())) {
    forward_to_side<functionality>(op, stack);
    return;
  }
  const size_t first = stack->size() - op.schema().arguments().size();
  torch::jit::Stack results;
  const auto kernel = [&] {
    results.assign(stack->begin() + static_cast<std::ptrdiff_t>(first), stack->end());
    forward_to_side<functionality>(op, &results);
  };
  CallKind call(report_is_on());
  for (size_t i = first; i < stack->size(); ++i) {
    see_in_call((*stack)[i], is_written(op.schema().arguments()[i - first]), call);
  }
  const c10::OperatorName& name = op.operator_name();
  OperatorRecord& record = operator_record(name.name.c_str(), name.overload_name.c_str());
  if constexpr (functionality == c10::DispatchKey::Dense) {
    run_with_fallback(record, call, kernel);
  } else {
    run_on_host(record, Obstacle::kLayout, call, kernel);  // other backends have next to nothing for other layouts
  }
  torch::jit::drop(*stack, op.schema().arguments().size());
  std::move(results.begin(), results.end(), std::back_inserter(*stack));
}

/// What torch's kernels make the current device: where results shall live, else where the first tensor does.
std::optional<c10::Device> device_of_call(at::ArrayRef<c10::IValue> arguments) {
  std::optional<c10::Device> device;
  const auto see = [&device](const at::Tensor& tensor) {
    if (!device.has_value() && tensor.is_cuda()) {
      device = tensor.device();
    }
  };
  for (const c10::IValue& value : arguments) {
    if (value.isDevice() && value.toDevice().is_cuda() && value.toDevice().has_index()) {
      return value.toDevice();
    }
    if (value.isTensor()) {
      see(value.toTensor());
    } else if (value.isTensorList() && !value.toTensorList().empty()) {
      see(value.toTensorList().get(0));
    }
  }
  return device;
}

/// The CPU's kernel on the CUDA tensors as they are: torch has one for both.
template <c10::DispatchKey functionality>
void run_shared(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  if (passes_capture_key<functionality>(op, stack)) {
    return;
  }
  const c10::OptionalDeviceGuard guard(device_of_call(torch::jit::last(*stack, op.schema().arguments().size())));
  op.redispatchBoxed(native_keys(functionality, host_masquerade.native_backend_bit), stack);
}

}  // namespace

template <c10::DispatchKey functionality>
c10::KernelFunction boxed_kernel() {
  return c10::KernelFunction::makeFromBoxedFunction<&forward_boxed<functionality>>();
}

template <c10::DispatchKey functionality>
c10::KernelFunction shared_kernel() {
  return c10::KernelFunction::makeFromBoxedFunction<&run_shared<functionality>>();
}

template c10::KernelFunction boxed_kernel<c10::DispatchKey::Dense>();
template c10::KernelFunction boxed_kernel<c10::DispatchKey::NestedTensor>();
template c10::KernelFunction boxed_kernel<c10::DispatchKey::Quantized>();
template c10::KernelFunction boxed_kernel<c10::DispatchKey::Sparse>();
template c10::KernelFunction boxed_kernel<c10::DispatchKey::SparseCsr>();
template c10::KernelFunction shared_kernel<c10::DispatchKey::NestedTensor>();
template c10::KernelFunction shared_kernel<c10::DispatchKey::Quantized>();
template c10::KernelFunction shared_kernel<c10::DispatchKey::Sparse>();
template c10::KernelFunction shared_kernel<c10::DispatchKey::SparseCsr>();

std::function<void()> register_boxed_fallback() {
  // Leaked unless it is taken back: torch's own fallbacks end first.
  auto* handle = new c10::RegistrationHandleRAII(c10::Dispatcher::singleton().registerFallback(
      c10::DispatchKey::CUDA, boxed_kernel<c10::DispatchKey::Dense>(), "torchdevice"));
  return [handle] { delete handle; };
}

}  // namespace torchdevice::forward
