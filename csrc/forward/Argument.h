// forward/Argument.h: how each C++ argument type of an operator crosses to the native backend.

#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/IListRef.h>
#include <ATen/core/List.h>
#include <c10/util/SmallVector.h>

#include "forward/DeviceRule.h"
#include "forward/Frame.h"

namespace torchdevice::forward {

/// Whether the operator's C++ type says that it writes to the argument.
enum class Access { kRead, kWrite };

/// The native generator for a CUDA one (or for the device's default one), advanced by one operator's worth.
at::Generator native_generator(const std::optional<at::Generator>& generator, c10::DeviceIndex device);

/// Scalars, sizes, dtypes and the like cross as they are.
template <class T, Access access>
class Argument {
 public:
  Argument(Frame&, T value) : value_(value) {}
  T native() { return value_; }
  void commit(Frame&) {}
  void see(int, std::vector<SeenTensor>&) const {}

 private:
  T value_;
};

template <Access access>
class Argument<const at::Tensor&, access> {
 public:
  Argument(Frame& frame, const at::Tensor& tensor)
      : source_(tensor), native_(frame.pass(tensor, access == Access::kWrite)) {}
  const at::Tensor& native() { return native_; }
  void commit(Frame& frame) {
    if constexpr (access == Access::kWrite) {
      frame.commit(source_);
    }
  }
  void see(int position, std::vector<SeenTensor>& seen) const {
    seen.push_back({position, source_, access == Access::kWrite});
  }

 private:
  const at::Tensor& source_;
  const at::Tensor& native_;
};

template <Access access>
class Argument<at::Tensor&, access> : public Argument<const at::Tensor&, Access::kWrite> {
 public:
  using Argument<const at::Tensor&, Access::kWrite>::Argument;
  // Kernels take their outputs by non-const reference but only ever write through the TensorImpl.
  at::Tensor& native() { return const_cast<at::Tensor&>(Argument<const at::Tensor&, Access::kWrite>::native()); }
};

template <Access access>
class Argument<const std::optional<at::Tensor>&, access> {
 public:
  Argument(Frame& frame, const std::optional<at::Tensor>& tensor) : source_(tensor) {
    if (tensor.has_value()) {
      native_ = frame.pass(*tensor);
    }
  }
  const std::optional<at::Tensor>& native() { return native_; }
  void commit(Frame&) {}
  void see(int position, std::vector<SeenTensor>& seen) const {
    if (source_.has_value()) {
      seen.push_back({position, *source_, false});
    }
  }

 private:
  const std::optional<at::Tensor>& source_;
  std::optional<at::Tensor> native_;
};

/// Lists of tensors that convert from a contiguous array: TensorList and ITensorListRef.
template <class List, Access access>
class TensorListArgument {
 public:
  TensorListArgument(Frame& frame, const List& tensors) : source_(tensors) {
    native_.reserve(tensors.size());
    for (const at::Tensor& tensor : tensors) {
      native_.push_back(frame.pass(tensor, access == Access::kWrite));
      if constexpr (access == Access::kWrite) {
        versions_.push_back(version_of(native_.back()));
      }
    }
  }
  /// A kernel that is composed of in-place operators has counted its writes on the aliases.
  void commit(Frame&) {
    if constexpr (access == Access::kWrite) {
      size_t i = 0;
      for (const at::Tensor& tensor : source_) {
        if (version_of(native_[i]) != versions_[i] && !tensor.is_same(native_[i])) {
          tensor.unsafeGetTensorImpl()->bump_version();
        }
        ++i;
      }
    }
  }
  void see(int position, std::vector<SeenTensor>& seen) const {
    for (const at::Tensor& tensor : source_) {
      seen.push_back({position, tensor, access == Access::kWrite});
    }
  }

 protected:
  static uint32_t version_of(const at::Tensor& tensor) {
    const auto& counter = tensor.unsafeGetTensorImpl()->version_counter();
    return counter.enabled() ? counter.current_version() : 0;
  }

  const List source_;
  c10::SmallVector<at::Tensor, 8> native_;  // most lists are short; a long one may take an allocation
  std::vector<uint32_t> versions_;
};

template <Access access>
class Argument<at::TensorList, access> : public TensorListArgument<at::TensorList, access> {
 public:
  using TensorListArgument<at::TensorList, access>::TensorListArgument;
  at::TensorList native() { return this->native_; }
};

template <Access access>
class Argument<const at::ITensorListRef&, access> : public TensorListArgument<at::ITensorListRef, access> {
 public:
  using TensorListArgument<at::ITensorListRef, access>::TensorListArgument;
  const at::ITensorListRef& native() { return list_.emplace(at::TensorList(this->native_)); }

 private:
  std::optional<at::ITensorListRef> list_;
};

template <Access access>
class Argument<const c10::List<std::optional<at::Tensor>>&, access> {
 public:
  Argument(Frame& frame, const c10::List<std::optional<at::Tensor>>& tensors) : source_(tensors) {
    native_.reserve(tensors.size());
    for (const std::optional<at::Tensor> tensor : tensors) {
      native_.push_back(tensor.has_value() ? std::optional(frame.pass(*tensor)) : std::nullopt);
    }
  }
  const c10::List<std::optional<at::Tensor>>& native() { return native_; }
  void commit(Frame&) {}
  void see(int position, std::vector<SeenTensor>& seen) const {
    for (const std::optional<at::Tensor> tensor : source_) {
      if (tensor.has_value()) {
        seen.push_back({position, *tensor, false});
      }
    }
  }

 private:
  const c10::List<std::optional<at::Tensor>>& source_;
  c10::List<std::optional<at::Tensor>> native_;
};

template <Access access>
class Argument<std::optional<at::Generator>, access> {
 public:
  Argument(Frame& frame, std::optional<at::Generator> generator) : frame_(frame), source_(std::move(generator)) {}
  /// Only now is the device known: outputs come after the generator.
  std::optional<at::Generator> native() { return native_generator(source_, frame_.device_index()); }
  void commit(Frame&) {}
  void see(int, std::vector<SeenTensor>&) const {}

 private:
  Frame& frame_;
  std::optional<at::Generator> source_;
};

template <Access access>
class Argument<std::optional<c10::Device>, access> {
 public:
  Argument(Frame& frame, std::optional<c10::Device> device);
  std::optional<c10::Device> native() { return native_device_; }
  void commit(Frame&) {}
  void see(int, std::vector<SeenTensor>&) const {}

 private:
  c10::Device native_device_;
};

/// The CUDA index a factory's device argument means: cuda:i, or the current device.
c10::DeviceIndex factory_device(std::optional<c10::Device> device);

template <Access access>
Argument<std::optional<c10::Device>, access>::Argument(Frame& frame, std::optional<c10::Device> device)
    : native_device_(frame.native().native_device) {
  frame.set_device(factory_device(device));
}

}  // namespace torchdevice::forward
