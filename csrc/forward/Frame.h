// forward/Frame.h: one forwarded call: aliases on the way in, adoption on the way out.

#pragma once

#include "allocator/CpuAllocator.h"
#include "forward/AliasPool.h"
#include "forward/Masquerade.h"
#include "runtime/Device.h"

namespace torchdevice::forward {

class LayoutAliases;

/// Lives on the stack of a kernel. Its destructor gives back the aliases and restores the thread's state, also when
/// the native kernel throws.
class Frame {
 public:
  Frame() : pool_(alias_pool()), base_(pool_.top()), outer_device_(forwarding_device()) {}
  ~Frame() {
    forwarding_device() = outer_device_;
    if (C10_UNLIKELY(layouts_ != nullptr)) {
      release_with_layouts();
    } else {
      pool_.release(base_);
    }
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  /// The native tensor that stands for `tensor`: an alias of a CUDA tensor; any other tensor is passed as it is.
  const at::Tensor& pass(const at::Tensor& tensor, bool written = false);

  /// A factory's device argument decides where results live.
  void set_device(c10::DeviceIndex index) noexcept { device_ = index; }
  c10::Device device() const { return {c10::DeviceType::CUDA, device_}; }
  c10::DeviceIndex device_index() const noexcept { return device_; }
  /// The device type that works in this call.
  const Masquerade& native() const noexcept { return pool_.native(); }

  /// An argument lives on another device than the first CUDA tensor and is no CPU scalar.
  bool has_foreign_tensor() const noexcept { return foreign_; }
  /// An argument is a zero-dimensional CPU tensor.
  bool has_cpu_scalar() const noexcept { return cpu_scalar_; }

  /// From here on memory that this thread allocates is the device's.
  void enter() noexcept {
    if (C10_UNLIKELY(device_ < 0)) {
      device_ = current_device();  // no tensor said where
    }
    forwarding_device() = device_;
  }

  /// Makes what a native kernel returned a CUDA tensor: fresh results in place, aliases as the tensors they stand for.
  void adopt(at::Tensor& result);
  at::Tensor adopted(at::Tensor result) {
    adopt(result);
    return result;
  }

  /// `source` was written through its alias: give it the metadata and memory that the alias has now.
  void commit(const at::Tensor& source);

 private:
  const at::Tensor& pass_unusual(const at::Tensor& tensor, bool written);
  const at::Tensor& pass_other_layout(const at::Tensor& tensor);
  at::Tensor adopt_unusual(at::Tensor&& result);
  at::Tensor adopt_shared(at::Tensor&& result);
  void commit_dense(c10::TensorImpl& source);
  c10::Storage share_storage(const c10::Storage& native);
  void release_with_layouts() noexcept;
  void see_device(c10::DeviceIndex index) noexcept {
    if (device_ < 0) {
      device_ = index;
    }
    foreign_ |= device_ != index;
  }

  AliasPool& pool_;
  AliasPlace* base_;
  LayoutAliases* layouts_ = nullptr;  ///< made for the first argument that is not strided
  c10::DeviceIndex outer_device_;
  c10::DeviceIndex device_ = -1;
  bool foreign_ = false;
  bool cpu_scalar_ = false;
};

}  // namespace torchdevice::forward
