// aten/Storage.cpp: operators that exchange or watch a tensor's storage, which an alias must never do for it.

#include <ATen/native/Resize.h>
#include <ATen/ops/is_set_to_native.h>
#include <ATen/ops/is_set_to_ops.h>
#include <ATen/ops/record_stream_ops.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/set_ops.h>

#include "allocator/CachingAllocator.h"
#include "allocator/StorageResize.h"
#include "forward/Registrar.h"
#include "runtime/Stream.h"

namespace torchdevice::aten {
namespace {

void change_storage(at::Tensor& self, at::Storage source, int64_t offset, at::IntArrayRef size,
                    at::IntArrayRef stride) {
  at::native::checkSetStorage(self, std::move(source), offset, size, stride);
  c10::TensorImpl& tensor = *self.unsafeGetTensorImpl();
  tensor.set_storage_offset(offset);
  const auto first = static_cast<size_t>(offset);
  size_t needed = 0;
  if (stride.data() != nullptr) {
    tensor.set_sizes_and_strides(size, stride);
    needed = at::detail::computeStorageNbytes(size, stride, tensor.itemsize(), first);
  } else {
    tensor.set_sizes_contiguous(size);
    needed = at::detail::computeStorageNbytesContiguous(size, tensor.itemsize(), first);
  }
  if (tensor.numel() > 0 && needed > self.storage().nbytes()) {
    resize_storage(*self.storage().unsafeGetStorageImpl(), needed);
  }
}

/// All or nothing: a tensor that is larger than its storage would read what is not its own.
at::Tensor& set_from_storage(at::Tensor& self, at::Storage source, int64_t offset, at::IntArrayRef size,
                             at::IntArrayRef stride) {
  const at::Storage storage_before = self.storage();
  const at::DimVector sizes_before(self.sizes());
  const at::DimVector strides_before(self.strides());
  const int64_t offset_before = self.storage_offset();
  try {
    change_storage(self, std::move(source), offset, size, stride);
  } catch (...) {
    self.unsafeGetTensorImpl()->set_storage_keep_dtype(storage_before);
    self.unsafeGetTensorImpl()->set_sizes_and_strides(sizes_before, strides_before, offset_before);
    throw;
  }
  return self;
}

at::Tensor& set_empty(at::Tensor& self) {
  at::DataPtr nothing = caching_allocator().allocate_on(0, self.device().index(), self.device());
  return set_from_storage(self,
                          at::Storage(at::Storage::use_byte_size_t(), 0, std::move(nothing), &caching_allocator(),
                                      /*resizable=*/true),
                          0, {0}, {});
}

void record_stream(at::Tensor& self, at::Stream stream) {
  check_stream(stream);
  caching_allocator().recordStream(self.storage().data_ptr(), stream);
}

}  // namespace

void register_storage(forward::Registrar& registrar) {
  registrar.implement<at::_ops::set__source_Storage>(TORCH_FN(at::native::set_));
  registrar.implement<at::_ops::set__source_Storage_storage_offset>(TORCH_FN(set_from_storage));
  registrar.implement<at::_ops::set__source_Tensor>(TORCH_FN(at::native::set_tensor_));
  registrar.implement<at::_ops::set_>(TORCH_FN(set_empty));
  registrar.implement<at::_ops::is_set_to>(TORCH_FN(at::native::is_set_to));
  registrar.implement<at::_ops::record_stream>(TORCH_FN(record_stream));
}

}  // namespace torchdevice::aten
