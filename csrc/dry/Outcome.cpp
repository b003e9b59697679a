// dry/Outcome.cpp: what a call of an operator does to shapes, as its Meta kernel said it, to be done to CUDA tensors.

#include "dry/Outcome.h"

#include <ATen/EmptyTensor.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>

#include "allocator/CachingAllocator.h"
#include "allocator/StorageResize.h"

namespace torchdevice::dry {
namespace {

constexpr c10::DispatchKeySet kCuda{c10::DispatchKey::CUDA};

}  // namespace

Outcome::Shape Outcome::shape_of(const at::Tensor& tensor) {
  return {tensor.sizes().vec(), tensor.strides().vec(), tensor.storage_offset(), tensor.scalar_type()};
}

Outcome::Result Outcome::result_of(const at::Tensor& tensor, const std::vector<at::Tensor>& metas) {
  if (!tensor.defined()) {
    return {.kind = Result::Kind::kValue, .position = -1, .shape = {}, .value = tensor, .elements = {}};
  }
  for (size_t i = 0; i < metas.size(); ++i) {
    if (tensor.is_same(metas[i])) {
      return {Result::Kind::kArgument, static_cast<int>(i), {}, {}, {}};
    }
  }
  for (size_t i = 0; i < metas.size(); ++i) {
    if (tensor.is_alias_of(metas[i])) {
      return {Result::Kind::kView, static_cast<int>(i), shape_of(tensor), {}, {}};
    }
  }
  if (!tensor.is_meta()) {
    return {Result::Kind::kValue, -1, {}, tensor, {}};
  }
  return {Result::Kind::kFresh, -1, shape_of(tensor), {}, {}};
}

Outcome::Result Outcome::result_of(const c10::IValue& value, const std::vector<at::Tensor>& metas) {
  if (value.isTensor()) {
    return result_of(value.toTensor(), metas);
  }
  if (value.isTensorList()) {
    Result list{.kind = Result::Kind::kTensorList, .position = -1, .shape = {}, .value = {}, .elements = {}};
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.elements.push_back(result_of(tensor, metas));
    }
    return list;
  }
  return {Result::Kind::kValue, -1, {}, value, {}};
}

Outcome::Outcome(const Call& call, const std::vector<at::Tensor>& metas, c10::ArrayRef<c10::IValue> results) {
  for (const c10::IValue& result : results) {
    results_.push_back(result_of(result, metas));
  }
  for (size_t i = 0; i < metas.size(); ++i) {
    const at::Tensor& before = call.tensors()[i];
    if (metas[i].sizes() != before.sizes() || metas[i].strides() != before.strides()) {
      resized_.push_back({static_cast<int>(i), shape_of(metas[i])});
    }
  }
}

at::Tensor Outcome::tensor_of(const Result& result, const Call& call) {
  if (result.kind == Result::Kind::kValue) {
    return result.value.toTensor();
  }
  if (result.kind == Result::Kind::kFresh) {
    return at::detail::empty_strided_generic(result.shape.sizes, result.shape.strides, &caching_allocator(), kCuda,
                                             result.shape.dtype);
  }
  const at::Tensor& argument = call.tensors()[static_cast<size_t>(result.position)];
  if (result.kind == Result::Kind::kArgument) {
    return argument;
  }
  at::Tensor view =
      at::detail::make_tensor<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(argument.storage()),
                                               argument.key_set(), c10::scalarTypeToTypeMeta(result.shape.dtype));
  view.unsafeGetTensorImpl()->set_sizes_and_strides(result.shape.sizes, result.shape.strides,
                                                    argument.storage_offset() + result.shape.offset);
  return view;
}

torch::jit::Stack Outcome::apply(const Call& call) const {
  const c10::DeviceGuard guard(c10::Device(c10::kCUDA, call.device()));
  for (const Resized& resized : resized_) {
    const at::Tensor& tensor = call.tensors()[static_cast<size_t>(resized.position)];
    c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
    const Shape& shape = resized.shape;
    const size_t needed = at::detail::computeStorageNbytes(shape.sizes, shape.strides, impl.itemsize(),
                                                           static_cast<size_t>(impl.storage_offset()));
    if (needed > impl.storage().nbytes()) {
      resize_storage(*impl.storage().unsafeGetStorageImpl(), needed);
    }
    impl.set_sizes_and_strides(shape.sizes, shape.strides);
  }
  torch::jit::Stack results;
  results.reserve(results_.size());
  for (const Result& result : results_) {
    if (result.kind == Result::Kind::kTensorList) {
      c10::List<at::Tensor> list;
      for (const Result& element : result.elements) {
        list.push_back(tensor_of(element, call));
      }
      results.emplace_back(std::move(list));
    } else if (result.kind == Result::Kind::kValue) {
      results.push_back(result.value);
    } else {
      results.emplace_back(tensor_of(result, call));
    }
  }
  return results;
}

}  // namespace torchdevice::dry
