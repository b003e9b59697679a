// forward/half/Convert.h: halves to float32 and back, rounded to the nearest, ties to even.

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace torchdevice::forward {

/// Convert `count` numbers in memory that does not overlap; `half` is kHalf or kBFloat16.
void widen(at::ScalarType half, const void* from, float* to, int64_t count);
void narrow(at::ScalarType half, const float* from, void* to, int64_t count);

/// A CUDA tensor's float32 copy, laid out like it, in the host's own memory. Dimensions that were expanded stay so.
at::Tensor float32_copy(const at::Tensor& half);
/// A float32 CUDA tensor rounded, in memory of the device.
at::Tensor rounded_to(at::ScalarType half, const at::Tensor& wide);
/// An empty tensor that is the device's by name, in the host's own memory.
at::Tensor empty_on_host(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type, c10::Device device);

}  // namespace torchdevice::forward
