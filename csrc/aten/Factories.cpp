// aten/Factories.cpp: fresh tensors come from the caching allocator; no native kernel is needed.

#include <ATen/EmptyTensor.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/empty_ops.h>
#include <ATen/ops/empty_strided_ops.h>
#include <c10/core/DeviceGuard.h>

#include "allocator/CachingAllocator.h"
#include "forward/Argument.h"
#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

constexpr c10::DispatchKeySet kCuda{c10::DispatchKey::CUDA};

c10::Device cuda_device(std::optional<c10::Device> device) {
  return {c10::DeviceType::CUDA, forward::factory_device(device)};
}

/// Layouts that get here are strided, or jagged, which is taken for strided as on the CPU.
void check_pinning(std::optional<bool> pin_memory) {
  TORCH_CHECK(!pin_memory.value_or(false), "Only dense CPU tensors can be pinned");
}

at::Tensor filled_if_deterministic(at::Tensor tensor) {
  const at::Context& context = at::globalContext();
  if (C10_UNLIKELY(context.deterministicAlgorithms() && context.deterministicFillUninitializedMemory())) {
    at::native::fill_empty_deterministic_(tensor);
  }
  return tensor;
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<c10::Layout> /*layout*/,
                 std::optional<c10::Device> device, std::optional<bool> pin_memory,
                 std::optional<c10::MemoryFormat> memory_format) {
  check_pinning(pin_memory);
  const c10::DeviceGuard guard(cuda_device(device));
  return filled_if_deterministic(
      at::detail::empty_generic(size, &caching_allocator(), kCuda, c10::dtype_or_default(dtype), memory_format));
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<c10::Layout> /*layout*/, std::optional<c10::Device> device,
                         std::optional<bool> pin_memory) {
  check_pinning(pin_memory);
  const c10::DeviceGuard guard(cuda_device(device));
  return filled_if_deterministic(
      at::detail::empty_strided_generic(size, stride, &caching_allocator(), kCuda, c10::dtype_or_default(dtype)));
}

}  // namespace

void register_factories(forward::Registrar& registrar) {
  registrar.implement<at::_ops::empty_memory_format>(TORCH_FN(empty));
  registrar.implement<at::_ops::empty_strided>(TORCH_FN(empty_strided));
}

}  // namespace torchdevice::aten
