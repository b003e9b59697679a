// check/Call.h: the tensors of one call of an operator.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <vector>

#include "check/Operators.h"

namespace torchdevice::check {

/// Lives no longer than the values that it has seen.
class Call {
 public:
  struct Seen {
    const at::Tensor* tensor;
    size_t value;  ///< of the operator's arguments, then its results
  };

  /// Every tensor in `value`, lists to any depth.
  void see(const c10::IValue& value, size_t number);
  void see(c10::ArrayRef<c10::IValue> arguments, const Operator& op);

  const std::vector<Seen>& tensors() const { return tensors_; }
  /// The CUDA devices, each once, in the order of their first tensors.
  const std::vector<c10::DeviceIndex>& devices() const { return devices_; }
  bool is_the_hosts() const { return devices_.empty() && !tensors_.empty(); }
  /// See Note [What is observed].
  bool reaches_kernel(const Operator& op) const;

 private:
  std::vector<Seen> tensors_;
  std::vector<c10::DeviceIndex> devices_;
  c10::DispatchKeySet keys_;
  bool has_memory_ = true;  ///< all of them are strided, with a storage
};

}  // namespace torchdevice::check
