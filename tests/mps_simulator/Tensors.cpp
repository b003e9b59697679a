// Tensors.cpp: MPS tensors, and the host's and the meta device's tensors that stand for them.

#include "Tensors.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/List.h>
#include <ATen/native/TensorFactories.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/InferenceMode.h>

#include <cstring>

#include "Memory.h"
#include "Queue.h"

namespace mps_simulator {
namespace {

const c10::DispatchKeySet kDense(c10::DispatchKey::MPS);

at::Tensor by_value(const at::Tensor& tensor) {
  const c10::InferenceMode no_inference(false);
  at::Tensor copy = tensor.clone();
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    copy.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return copy;
}

}  // namespace

bool has_dtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
    case at::kHalf:
    case at::kBFloat16:
    case at::kComplexFloat:
    case at::kComplexHalf:
    case at::kByte:
    case at::kChar:
    case at::kShort:
    case at::kInt:
    case at::kLong:
    case at::kBool:
      return true;
    default:
      return false;
  }
}

void check_dtype(at::ScalarType dtype) {
  TORCH_CHECK_TYPE(dtype != at::kDouble,
                   "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
                   "Please use float32 instead.");
  TORCH_CHECK_TYPE(has_dtype(dtype), "Trying to convert ", dtype,
                   " to the MPS backend but it does not have support for that dtype.");
}

at::Tensor empty_tensor(at::IntArrayRef size, at::IntArrayRef stride, at::ScalarType dtype) {
  check_dtype(dtype);
  return at::detail::empty_strided_generic(size, stride, &allocator(), kDense, dtype);
}

void resize_tensor(const at::Tensor& tensor, at::IntArrayRef size, std::optional<at::IntArrayRef> stride) {
  c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  if (stride.has_value()) {
    impl.set_sizes_and_strides(size, *stride);
  } else {
    impl.set_sizes_contiguous(size);
  }
  const size_t needed = tensor.numel() == 0
                            ? 0
                            : at::detail::computeStorageNbytes(impl.sizes(), impl.strides(), impl.itemsize(),
                                                               static_cast<size_t>(impl.storage_offset()));
  c10::StorageImpl& storage = *tensor.storage().unsafeGetStorageImpl();
  if (needed <= storage.nbytes()) {
    return;
  }
  TORCH_CHECK(storage.resizable(), "Trying to resize storage that is not resizable");
  c10::DataPtr memory = allocator().allocate(needed);
  if (storage.nbytes() > 0) {
    queue().submit([to = pages_of(memory.get()), from = pages_of(storage.data()), nbytes = storage.nbytes()] {
      std::memcpy(to, from, nbytes);
    });
  }
  storage.set_data_ptr_noswap(std::move(memory));
  storage.set_nbytes(needed);
}

c10::Storage StandIns::storage_of(const at::Tensor& tensor) {
  const c10::Storage& original = tensor.storage();
  auto& storage = storages_[original.unsafeGetStorageImpl()];
  if (!storage) {
    const bool meta = kind_ == Kind::kMeta;
    const c10::Device device(meta ? c10::kMeta : c10::kCPU);
    c10::DataPtr memory(kind_ == Kind::kHost ? pages_of(original.data()) : nullptr, device);
    if (kind_ == Kind::kZeros) {
      memory = c10::GetDefaultCPUAllocator()->allocate(original.nbytes());
      if (original.nbytes() > 0) {
        std::memset(memory.get(), 0, original.nbytes());
      }
    }
    storage =
        c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), original.nbytes(),
                                                           std::move(memory), c10::GetAllocator(device.type()), true));
  }
  return storage;
}

at::Tensor StandIns::of(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_mps()) {
    // Metal kernels get numbers of the host by value.
    return kind_ != Kind::kMeta && tensor.defined() && tensor.is_cpu() && tensor.layout() == c10::kStrided
               ? by_value(tensor)
               : tensor;
  }
  auto& [original, stand_in] = tensors_[tensor.unsafeGetTensorImpl()];
  if (!stand_in.defined()) {
    const c10::InferenceMode no_inference(false);  // the queue's thread knows nothing of the caller's
    const auto key = kind_ == Kind::kMeta ? c10::DispatchKey::Meta : c10::DispatchKey::CPU;
    const auto kept = tensor.key_set() & c10::DispatchKeySet({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative});
    original = tensor;
    stand_in =
        at::detail::make_tensor<c10::TensorImpl>(storage_of(tensor), c10::DispatchKeySet(key) | kept, tensor.dtype());
    c10::TensorImpl& impl = *stand_in.unsafeGetTensorImpl();
    impl.set_storage_offset(tensor.storage_offset());
    impl.set_sizes_and_strides(tensor.sizes(), tensor.strides());
    if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
      impl.set_wrapped_number(true);
    }
  }
  return stand_in;
}

c10::IValue StandIns::of(const c10::IValue& value) {
  if (value.isTensor()) {
    return of(value.toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(of(tensor));
    }
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
      list.push_back(tensor.has_value() ? std::optional(of(*tensor)) : std::nullopt);
    }
    return list;
  }
  if (value.isDevice() && value.toDevice().is_mps()) {
    return c10::Device(kind_ == Kind::kMeta ? c10::kMeta : c10::kCPU);
  }
  return value;
}

at::Tensor StandIns::original(const at::Tensor& stand_in) const {
  for (const auto& [impl, pair] : tensors_) {
    if (pair.second.is_same(stand_in)) {
      return pair.first;
    }
  }
  return {};
}

}  // namespace mps_simulator
