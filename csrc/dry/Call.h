// dry/Call.h: one call of an operator in a dry run: what its arguments look like, and their counterparts without data.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/stack.h>
#include <c10/util/ArrayRef.h>

#include <string>
#include <unordered_map>
#include <vector>

namespace torchdevice::dry {

/// The arguments of a call. Two calls of an operator with the same key have results of the same kind.
class Call {
 public:
  Call(const c10::FunctionSchema& schema, c10::ArrayRef<c10::IValue> arguments);

  /// Sizes, strides, data types, devices, which tensors are the same, and every value that is no tensor. Of a number
  /// that an operator computes with, such as a learning rate, only the type.
  const std::string& key() const noexcept { return key_; }
  /// Every tensor among the arguments once, in order.
  const std::vector<at::Tensor>& tensors() const noexcept { return tensors_; }
  /// Where the call works; the current device if no argument says.
  c10::DeviceIndex device() const noexcept { return device_; }
  /// Whether two CUDA tensors live on different devices, or one is mixed with a CPU tensor that is no scalar.
  bool is_mixed() const noexcept { return mixed_; }

  /// The arguments as the operator's Meta kernel takes them. `metas` are the counterparts of tensors().
  torch::jit::Stack meta_arguments(c10::ArrayRef<c10::IValue> arguments, const std::vector<at::Tensor>& metas) const;
  /// Fresh tensors of the same kind on device "meta"; CPU scalars are those themselves.
  std::vector<at::Tensor> metas() const;
  /// The position of `tensor` in tensors(); -1 if it is none of them.
  int position(const at::Tensor& tensor) const;

 private:
  void see(const c10::IValue& value);
  void see(const at::Tensor& tensor);
  void see_type(const c10::IValue& number);
  void see_device(c10::DeviceIndex index) noexcept;
  template <class T>
  void append(const T& value) {
    key_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  std::string key_;
  std::vector<at::Tensor> tensors_;
  std::unordered_map<const c10::TensorImpl*, int> positions_;
  c10::DeviceIndex device_ = -1;
  bool mixed_ = false;
  bool has_host_tensor_ = false;
};

}  // namespace torchdevice::dry
