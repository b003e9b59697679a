// ByHand.cpp: operators on metadata, memory and copies, which the CPU's kernels cannot stand for.

#include "ByHand.h"

#include <ATen/EmptyTensor.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/strides.h>

#include "Queue.h"
#include "Simulator.h"
#include "Tensors.h"
#include "Warnings.h"
#include "Wrong.h"

namespace mps_simulator {
namespace {

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<c10::Layout>,
                 std::optional<c10::Device>, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  check_dtype(c10::dtype_or_default(dtype));
  at::Tensor tensor = empty_tensor({0}, {1}, c10::dtype_or_default(dtype));
  resize_tensor(tensor, size, std::nullopt);
  if (format.has_value() && *format != c10::MemoryFormat::Contiguous) {
    tensor.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  }
  return tensor;
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  return empty_tensor(size, stride, c10::dtype_or_default(dtype));
}

/// A tensor of zeros without memory.
at::Tensor efficientzerotensor(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<c10::Layout>,
                               std::optional<c10::Device>, std::optional<bool>) {
  static auto* const nothing = new at::native::ZeroTensorAllocator(c10::Device(c10::kMPS, 0));
  check_dtype(c10::dtype_or_default(dtype));
  return at::detail::empty_generic(size, nothing,
                                   c10::DispatchKeySet({c10::DispatchKey::MPS, c10::DispatchKey::ZeroTensor}),
                                   c10::dtype_or_default(dtype), std::nullopt);
}

/// Of what is lost the CPU's copy warns, MPS's does not.
void copy_silently(at::Tensor to, const at::Tensor& from) {
  const KeptWarnings silent;
  to.copy_(from);
}

/// Between devices and on this one. The host's memory is read when the copy is submitted.
at::Tensor& copy_(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  StandIns host(StandIns::Kind::kHost);
  if (self.is_mps()) {
    check_dtype(self.scalar_type());
  }
  if (source._is_zerotensor()) {
    return self.zero_();
  }
  if (self.is_cpu()) {
    at::Tensor from = host.of(source);
    if (errs && !from.is_non_overlapping_and_dense()) {
      from = from.as_strided(from.sizes(), c10::contiguous_strides(from.sizes()), 0);
    }
    queue().run_now([&] {
      const c10::InferenceMode as_made(self.is_inference());  // the queue's thread knows nothing of the caller's
      copy_silently(self, from);
    });
    return self;
  }
  TORCH_CHECK(self.is_mps() && (source.is_mps() || source.is_cpu()),
              "Placeholder storage has not been allocated on MPS device!");
  const at::Tensor to = host.of(self);
  const at::Tensor from = source.is_mps()        ? host.of(source)
                          : errs && non_blocking ? source  // whatever is there when its turn comes
                                                 : source.clone();
  if (source.is_mps()) {
    check_dtype(source.scalar_type());
  }
  queue().submit([to, from] { copy_silently(to, from); });
  return self;
}

/// Goes around conj_physical.out to a stub, which has nothing for MPS.
at::Tensor& conj_physical_(at::Tensor& self) {
  refusals += self.is_complex();
  TORCH_CHECK(!self.is_complex(), "DispatchStub: missing kernel for mps");
  return self;
}

at::Tensor copy_from(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  at::Tensor to = target;
  return copy_(to, source, non_blocking);
}

at::Tensor copy_from_and_resize(const at::Tensor& source, const at::Tensor& target) {
  resize_tensor(target, source.sizes(), std::nullopt);
  return copy_from(source, target, false);
}

const at::Tensor& resize_(const at::Tensor& self, at::IntArrayRef size, std::optional<c10::MemoryFormat> format) {
  if (self.sizes() != size) {
    resize_tensor(self, size, std::nullopt);
  }
  if (format.has_value()) {
    self.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  }
  return self;
}

at::Tensor& set_from_storage(at::Tensor& self, at::Storage source, int64_t offset, at::IntArrayRef size,
                             at::IntArrayRef stride) {
  at::native::checkSetStorage(self, std::move(source), offset, size, stride);
  self.unsafeGetTensorImpl()->set_storage_offset(offset);
  resize_tensor(self, size, stride.data() != nullptr ? std::optional(stride) : std::nullopt);
  return self;
}

at::Tensor& set_to_nothing(at::Tensor& self) {
  return set_from_storage(self, empty_tensor({0}, {1}, self.scalar_type()).storage(), 0, {0}, {});
}

}  // namespace

std::set<std::string> implement_by_hand(torch::Library& library) {
  std::set<std::string> names;
  const auto implement = [&](const char* name, auto function) {
    library.impl(name, function);
    names.insert(name);
  };
  implement("empty.memory_format", TORCH_FN(empty));
  implement("empty_strided", TORCH_FN(empty_strided));
  implement("_efficientzerotensor", TORCH_FN(efficientzerotensor));
  implement("copy_", TORCH_FN(copy_));
  implement("_copy_from", TORCH_FN(copy_from));
  implement("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
  implement("conj_physical_", TORCH_FN(conj_physical_));
  implement("resize_", TORCH_FN(resize_));
  implement("set_", TORCH_FN(set_to_nothing));
  implement("set_.source_Storage", TORCH_FN(at::native::set_));
  implement("set_.source_Storage_storage_offset", TORCH_FN(set_from_storage));
  implement("set_.source_Tensor", TORCH_FN(at::native::set_tensor_));
  implement("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  implement("view", TORCH_FN(at::native::view));
  implement("unfold", TORCH_FN(at::native::unfold));
  implement("view_as_real", TORCH_FN(at::native::view_as_real));
  implement("view_as_complex", TORCH_FN(at::native::view_as_complex));
  implement("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  return names;
}

}  // namespace mps_simulator
