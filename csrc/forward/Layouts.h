// forward/Layouts.h: tensors without plain strided memory: sparse, compressed sparse, quantized and nested ones.

#pragma once

#include <ATen/core/Tensor.h>

#include <deque>

namespace torchdevice::forward {

class Frame;

/// The aliases of such tensors in one call. Each is a native tensor of the same layout, made of aliases of the dense
/// tensors or the memory that its source is made of.
class LayoutAliases {
 public:
  const at::Tensor& pass(Frame& frame, const at::Tensor& source);
  /// The source that `native` stands for; undefined if there is none.
  at::Tensor source_of(const at::Tensor& native) const;
  /// `source` takes over what its alias is made of now.
  void commit(Frame& frame, const at::Tensor& source) const;

 private:
  struct Entry {
    at::Tensor source;
    at::Tensor native;
    /// A dense view of the source's memory, where the source is no dense tensor itself; the frame knows it by address.
    at::Tensor memory;
  };
  Entry make(Frame& frame, const at::Tensor& source);

  std::deque<Entry> entries_;
};

/// A CUDA tensor of the same layout, made of what `native` is made of.
at::Tensor adopt_layout(Frame& frame, const at::Tensor& native);

/// Whether adopt_layout knows the layout.
bool has_known_layout(const c10::TensorImpl& tensor);

}  // namespace torchdevice::forward
