// dry/Call.cpp: one call of an operator in a dry run: what its arguments look like, and their counterparts without
// data.

#include "dry/Call.h"

#include <ATen/ops/empty_strided.h>

#include "runtime/Device.h"

namespace torchdevice::dry {
namespace {

/// What kind of value follows in the key.
enum class Mark : char {
  kNone,
  kTensor,
  kSame,
  kUndefined,
  kInt,
  kDouble,
  kComplex,
  kBool,
  kString,
  kDevice,
  kList,
  kOther
};

bool is_number(const c10::Type& type) {
  return type.kind() == c10::TypeKind::NumberType ||
         (type.kind() == c10::TypeKind::OptionalType && is_number(*type.containedType(0)));
}

/// Those that have as many elements as their numbers say.
bool makes_a_range(const std::string& name) {
  return name == "aten::arange" || name == "aten::range" || name == "aten::linspace" || name == "aten::logspace";
}

bool is_host_scalar(const at::Tensor& tensor) { return tensor.is_cpu() && tensor.dim() == 0; }

}  // namespace

Call::Call(const c10::FunctionSchema& schema, c10::ArrayRef<c10::IValue> arguments) {
  const bool numbers_are_sizes = makes_a_range(schema.name());
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!numbers_are_sizes && is_number(*schema.arguments()[i].type())) {
      see_type(arguments[i]);
    } else {
      see(arguments[i]);
    }
  }
  mixed_ |= has_host_tensor_ && device_ >= 0;
  if (device_ < 0) {
    device_ = current_device();
  }
  append(device_);
}

void Call::see_type(const c10::IValue& number) {
  append(number.isNone()            ? Mark::kNone
         : number.isBool()          ? Mark::kBool
         : number.isDouble()        ? Mark::kDouble
         : number.isComplexDouble() ? Mark::kComplex
                                    : Mark::kInt);
}

void Call::see_device(c10::DeviceIndex index) noexcept {
  mixed_ |= device_ >= 0 && device_ != index;
  device_ = device_ < 0 ? index : device_;
}

void Call::see(const at::Tensor& tensor) {
  if (!tensor.defined()) {
    append(Mark::kUndefined);
    return;
  }
  TORCH_CHECK_NOT_IMPLEMENTED(tensor.layout() == c10::kStrided,
                              "A dry run works out shapes of strided tensors only, and ", "this one is ",
                              tensor.layout(), ". Run the program without `torchdevice fit`.");
  const auto [known, fresh] = positions_.try_emplace(tensor.unsafeGetTensorImpl(), static_cast<int>(tensors_.size()));
  if (!fresh) {
    append(Mark::kSame);
    append(known->second);
    return;
  }
  tensors_.push_back(tensor);
  if (tensor.is_cuda()) {
    see_device(tensor.device().index());
  } else {
    has_host_tensor_ |= tensor.is_cpu() && tensor.dim() > 0;
  }
  append(Mark::kTensor);
  append(tensor.device().type());
  append(tensor.scalar_type());
  append(tensor.unsafeGetTensorImpl()->is_wrapped_number());
  append(tensor.dim());
  for (const int64_t size : tensor.sizes()) {
    append(size);
  }
  for (const int64_t stride : tensor.strides()) {
    append(stride);
  }
}

void Call::see(const c10::IValue& value) {
  if (value.isNone()) {
    append(Mark::kNone);
  } else if (value.isTensor()) {
    see(value.toTensor());
  } else if (value.isInt()) {
    append(Mark::kInt);
    append(value.toInt());
  } else if (value.isDouble()) {
    append(Mark::kDouble);
    append(value.toDouble());
  } else if (value.isComplexDouble()) {
    append(Mark::kComplex);
    append(value.toComplexDouble());
  } else if (value.isBool()) {
    append(Mark::kBool);
    append(value.toBool());
  } else if (value.isString()) {
    append(Mark::kString);
    append(value.toStringRef().size());
    key_ += value.toStringRef();
  } else if (value.isDevice()) {
    append(Mark::kDevice);
    append(value.toDevice().type());
    if (value.toDevice().is_cuda()) {
      see_device(value.toDevice().has_index() ? value.toDevice().index() : current_device());
    }
  } else if (value.isSymInt()) {
    append(Mark::kInt);
    append(value.toSymInt().guard_int(__FILE__, __LINE__));
  } else if (value.isList()) {
    const auto elements = value.toListRef();
    append(Mark::kList);
    append(elements.size());
    for (const c10::IValue& element : elements) {
      see(element);
    }
  } else {
    append(Mark::kOther);  // a generator: it has no part in shapes
  }
}

std::vector<at::Tensor> Call::metas() const {
  std::vector<at::Tensor> metas;
  metas.reserve(tensors_.size());
  for (const at::Tensor& tensor : tensors_) {
    if (is_host_scalar(tensor)) {
      metas.push_back(tensor);
      continue;
    }
    metas.push_back(at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(c10::kMeta)));
    if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
      metas.back().unsafeGetTensorImpl()->set_wrapped_number(true);
    }
  }
  return metas;
}

int Call::position(const at::Tensor& tensor) const {
  const auto known = positions_.find(tensor.unsafeGetTensorImpl());
  return known != positions_.end() ? known->second : -1;
}

namespace {

class ToMeta {
 public:
  ToMeta(const Call& call, const std::vector<at::Tensor>& metas) : call_(call), metas_(metas) {}

  c10::IValue operator()(const c10::IValue& value) const {
    if (value.isTensor()) {
      return counterpart(value.toTensor());
    }
    if (value.isDevice() && value.toDevice().is_cuda()) {
      return c10::Device(c10::kMeta);
    }
    if (value.isGenerator()) {
      return c10::IValue();
    }
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) {
        list.push_back(counterpart(tensor));
      }
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
        list.push_back(tensor.has_value() ? std::optional(counterpart(*tensor)) : std::nullopt);
      }
      return list;
    }
    if (value.isList() && *value.toList().elementType() == *c10::ListType::ofTensors()) {
      c10::impl::GenericList lists(c10::ListType::ofTensors());
      for (const c10::IValue& list : value.toListRef()) {
        lists.push_back((*this)(list));
      }
      return lists;
    }
    return value;
  }

 private:
  at::Tensor counterpart(const at::Tensor& tensor) const {
    return tensor.defined() ? metas_.at(static_cast<size_t>(call_.position(tensor))) : tensor;
  }

  const Call& call_;
  const std::vector<at::Tensor>& metas_;
};

}  // namespace

torch::jit::Stack Call::meta_arguments(c10::ArrayRef<c10::IValue> arguments,
                                       const std::vector<at::Tensor>& metas) const {
  torch::jit::Stack stack;
  const ToMeta to_meta(*this, metas);
  for (const c10::IValue& argument : arguments) {
    stack.push_back(to_meta(argument));
  }
  return stack;
}

}  // namespace torchdevice::dry
