// Tensors.h: MPS tensors, and the host's and the meta device's tensors that stand for them.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <map>

namespace mps_simulator {

/// Whether Metal has the type; `check_dtype` raises what torch raises if not.
bool has_dtype(at::ScalarType dtype);
void check_dtype(at::ScalarType dtype);

at::Tensor empty_tensor(at::IntArrayRef size, at::IntArrayRef stride, at::ScalarType dtype);

/// Grows the buffer if need be, in the queue, and sets sizes and strides.
void resize_tensor(const at::Tensor& tensor, at::IntArrayRef size, std::optional<at::IntArrayRef> stride);

/// Stand-ins for the MPS tensors of one call. Tensors that share a buffer get stand-ins that share memory.
class StandIns {
 public:
  enum class Kind { kHost, kMeta, kZeros };
  explicit StandIns(Kind kind) : kind_(kind) {}

  /// The value with every MPS tensor in it replaced.
  c10::IValue of(const c10::IValue& value);
  at::Tensor of(const at::Tensor& tensor);

  /// The tensor that `stand_in` stands for, or an undefined one.
  at::Tensor original(const at::Tensor& stand_in) const;

 private:
  c10::Storage storage_of(const at::Tensor& tensor);

  const Kind kind_;
  std::map<const c10::TensorImpl*, std::pair<at::Tensor, at::Tensor>> tensors_;  ///< original, stand-in
  std::map<const c10::StorageImpl*, c10::Storage> storages_;
};

}  // namespace mps_simulator
