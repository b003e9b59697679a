// forward/checks/IntegerDivision.cpp: on a GPU an integer divided by zero is some number; the CPU's kernels raise an
// error.

#include "forward/checks/IntegerDivision.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ge.h>
#include <ATen/ops/result_type.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>

#include <string>

namespace torchdevice::forward {
namespace {

/// A number or a tensor without dimensions comes to the device; a tensor on another one is the kernel's to refuse.
at::Tensor as_tensor(const c10::IValue& value, c10::Device device) {
  if (value.isTensor()) {
    return value.toTensor().is_cuda() ? value.toTensor() : value.toTensor().to(device);
  }
  const at::Scalar number = value.toScalar();
  return at::scalar_tensor(number, at::device(device).dtype(number.type()));
}

c10::Device device_of(const c10::IValue& dividend, const c10::IValue& divisor) {
  return dividend.isTensor() && dividend.toTensor().is_cuda() ? dividend.toTensor().device()
                                                              : divisor.toTensor().device();
}

/// What NVIDIA's GPUs give: all bits, but a remainder of int64 has the lower half alone if the dividend is not negative
/// (torch's test_fmod_remainder_by_zero_integral).
at::Tensor quotient_by_zero(const std::string& name, const at::Tensor& dividend, const at::Tensor& divisor) {
  constexpr int64_t kLowerHalf = 0xFFFFFFFF;
  const at::ScalarType type = at::result_type(dividend, divisor);
  const bool is_remainder = name.find("remainder") != std::string::npos || name.find("fmod") != std::string::npos;
  const at::Tensor ones = at::scalar_tensor(type == at::kByte ? 255 : -1, dividend.options().dtype(type));
  return is_remainder && type == at::kLong ? at::where(dividend.ge(0), at::full_like(ones, kLowerHalf), ones) : ones;
}

}  // namespace

bool is_division_by_zero(const c10::Error& error) {
  return std::string_view(error.what_without_backtrace()).starts_with("ZeroDivisionError");
}

void divide_by_zero(const c10::OperatorHandle& op, const c10::KernelFunction& kernel, torch::jit::Stack& stack) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const size_t first = stack.size() - op.schema().arguments().size();
  c10::IValue& divisor = stack[first + 1];
  const c10::Device device = device_of(stack[first], divisor);
  const at::Tensor dividends = as_tensor(stack[first], device);
  const at::Tensor divisors = as_tensor(divisor, device);
  const at::Tensor is_zero = divisors.eq(0);
  const at::Tensor instead = quotient_by_zero(op.schema().name(), dividends, divisors);
  divisor = divisor.isTensor() ? c10::IValue(divisors.masked_fill(is_zero, 1)) : c10::IValue(at::Scalar(1));
  kernel.callBoxed(op, c10::DispatchKeySet(c10::DispatchKey::CUDA), &stack);
  const at::Tensor result = stack.back().toTensor();
  result.copy_(at::where(is_zero, instead.to(result.scalar_type()), result));
}

}  // namespace torchdevice::forward
