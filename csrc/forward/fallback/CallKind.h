// forward/fallback/CallKind.h: what the choice between the native backend and the CPU knows of one call.

#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/IListRef.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <c10/core/DefaultDtype.h>
#include <c10/util/SmallVector.h>

#include <cstdint>
#include <functional>
#include <string_view>

#include "native/Dtypes.h"

namespace torchdevice::forward {

/// A backend's kernels take or refuse a call by its data types, its ranks and its modes, not by its sizes and values;
/// only where there are no elements, it may not have come to that. `hash()` is a number for these: calls of an operator
/// that a backend treats alike have the same.
class CallKind {
 public:
  explicit CallKind(bool counts_bytes = false) : counts_bytes_(counts_bytes) {}

  /// Of the CUDA tensors and of the dtype arguments.
  DtypeSet dtypes() const noexcept { return dtypes_; }
  uint64_t hash() const noexcept { return hash_ ^ dtypes_ * kMultiplier; }
  /// CUDA tensors that the operator writes to.
  const auto& written() const noexcept { return written_; }
  /// Of the CUDA tensors, where they are counted.
  uint64_t bytes() const noexcept { return bytes_; }

  void see(const at::Tensor& tensor, bool is_written = false) {
    if (tensor.is_cuda()) {
      dtypes_ |= dtype_set({tensor.scalar_type()});
      mix(static_cast<uint64_t>(tensor.dim()) << 9U | uint64_t{tensor.numel() == 0} << 8U |
          static_cast<uint64_t>(tensor.scalar_type()));
      if (is_written) {
        written_.push_back(&tensor);
      }
      if (C10_UNLIKELY(counts_bytes_) && tensor.layout() == c10::kStrided) {
        bytes_ += tensor.nbytes();
      }
    } else {
      mix(tensor.defined() ? static_cast<uint64_t>(tensor.scalar_type()) : kNothing);
    }
  }
  void see(at::TensorList tensors, bool is_written = false) {
    for (const at::Tensor& tensor : tensors) {
      see(tensor, is_written);
    }
  }
  void see(const at::ITensorListRef& tensors, bool /*is_written*/ = false) {
    for (const at::Tensor& tensor : tensors) {
      see(tensor);
    }
  }
  void see(const c10::List<std::optional<at::Tensor>>& tensors, bool /*is_written*/ = false) {
    for (const std::optional<at::Tensor> tensor : tensors) {
      see(tensor);
    }
  }
  void see(at::ScalarType dtype, bool /*is_written*/ = false) { dtypes_ |= dtype_set({dtype}); }
  void see(bool mode, bool /*is_written*/ = false) { mix(mode ? 1 : 2); }
  void see(int64_t mode, bool /*is_written*/ = false) { mix(static_cast<uint64_t>(mode)); }
  void see(std::string_view mode, bool /*is_written*/ = false) { mix(std::hash<std::string_view>()(mode)); }
  void see(at::IntArrayRef sizes, bool /*is_written*/ = false) { mix(sizes.size()); }
  void see(c10::SymIntArrayRef sizes, bool /*is_written*/ = false) { mix(sizes.size()); }
  template <class T>
  void see(const std::optional<T>& value, bool /*is_written*/ = false) {
    if (value.has_value()) {
      see(*value);
    } else {
      mix(kNothing);
    }
  }
  /// Numbers, generators, devices: values, not modes.
  template <class T>
  void see(const T&, bool /*is_written*/ = false) {}

 private:
  static constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;
  static constexpr uint64_t kNothing = 0xFF;

  void mix(uint64_t value) noexcept { hash_ = (hash_ ^ value) * kMultiplier + 1; }

  const bool counts_bytes_;
  uint64_t bytes_ = 0;
  DtypeSet dtypes_ = 0;
  /// Integers divided are of the default dtype, so it is one of the modes.
  uint64_t hash_ = static_cast<uint64_t>(c10::get_default_dtype_as_scalartype());
  c10::SmallVector<const at::Tensor*, 4> written_;
};

}  // namespace torchdevice::forward
