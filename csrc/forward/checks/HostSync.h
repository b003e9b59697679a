// forward/checks/HostSync.h: operators for which the host waits for a GPU, as their results depend on what the device
// computed.

#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_index_put_impl_ops.h>
#include <ATen/ops/copy_ops.h>
#include <ATen/ops/index_ops.h>
#include <ATen/ops/index_put_ops.h>
#include <ATen/ops/repeat_interleave_ops.h>

#include "forward/checks/Checked.h"

namespace torchdevice::forward {

/// The host waits for work on the tensor's device: forbidden while its current stream is captured, and what
/// torch.cuda.set_sync_debug_mode looks for.
void wait_for_device_of(const at::Tensor& tensor);

/// Whether CUDA copies indices, or how many there are, between host and device: masks on the device are counted, and
/// positions on the host are sent. Masks on the host become positions in pinned memory, which nobody waits for.
bool wait_for_indices(const c10::List<std::optional<at::Tensor>>& indices);

/// Raises what CUDA raises for a copy from or to memory that is not pinned during a capture.
void check_captured_copy(const at::Tensor& host, const at::Tensor& device);

/// Whether a call waits. Most operators of HOST_SYNCS in codegen/rules.py always do.
template <class Op>
struct HostSync {
  template <class... A>
  static const at::Tensor* on(const at::Tensor& self, const A&...) {
    return &self;
  }
};

template <>
struct HostSync<at::_ops::copy_> {
  static const at::Tensor* on(const at::Tensor& self, const at::Tensor& source, bool non_blocking) {
    if (self.is_cuda() == source.is_cuda() || self.numel() == 0) {
      return nullptr;
    }
    const at::Tensor& device = self.is_cuda() ? self : source;
    check_captured_copy(self.is_cuda() ? source : self, device);
    return non_blocking ? nullptr : &device;
  }
};

template <>
struct HostSync<at::_ops::index_Tensor> {
  static const at::Tensor* on(const at::Tensor& self, const c10::List<std::optional<at::Tensor>>& indices) {
    return wait_for_indices(indices) ? &self : nullptr;
  }
};

struct IndexPutSync {
  template <class... Unsafe>
  static const at::Tensor* on(const at::Tensor& self, const c10::List<std::optional<at::Tensor>>& indices,
                              const at::Tensor& values, bool accumulate, Unsafe... /*unsafe*/) {
    // at::native turns this into masked_fill_, which needs no positions.
    const bool may_be_masked_fill = !accumulate && values.numel() == 1 && values.is_cpu();
    return !may_be_masked_fill && wait_for_indices(indices) ? &self : nullptr;
  }
};

template <>
struct HostSync<at::_ops::index_put> : IndexPutSync {};
template <>
struct HostSync<at::_ops::index_put_> : IndexPutSync {};
template <>
struct HostSync<at::_ops::_index_put_impl_> : IndexPutSync {};

template <>
struct HostSync<at::_ops::repeat_interleave_Tensor> {
  static const at::Tensor* on(const at::Tensor& repeats, const std::optional<c10::SymInt>& output_size) {
    return output_size.has_value() ? nullptr : &repeats;
  }
};

/// Precedes an operator that may wait.
template <class Op>
struct SyncCheck {
  template <class... A>
  static void before(const A&... arguments) {
    if (const at::Tensor* tensor = HostSync<Op>::on(arguments...)) {
      wait_for_device_of(*tensor);
    }
  }
};

}  // namespace torchdevice::forward
