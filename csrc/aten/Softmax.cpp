// aten/Softmax.cpp: softmax of half tensors with a float32 result, which CUDA's kernels compute in one go: torch asks
// for it on CUDA tensors alone, under autocast and by dtype=torch.float32, and the native kernel refuses.

#include <ATen/native/Resize.h>
#include <ATen/ops/_log_softmax_backward_data_ops.h>
#include <ATen/ops/_log_softmax_ops.h>
#include <ATen/ops/_softmax_backward_data_ops.h>
#include <ATen/ops/_softmax_ops.h>

#include <iterator>

#include "forward/Forward.h"

namespace torchdevice::aten {
namespace {

using forward::CheckedArgument;
using forward::Mixing;
using forward::Rule;

template <class Operator, const Rule& rule>
struct Native : forward::WithFallbackIfAny<Operator, forward::Forwarded<Operator, rule>> {
  using Op = Operator;
};

/// Softmax or log_softmax by their native kernels, with half inputs widened first and their gradients narrowed last.
template <class NativeCall, class NativeOut, class NativeBackward, class NativeBackwardOut>
struct Kernels {
  static at::Tensor widened(const at::Tensor& self) {
    TORCH_CHECK(self.scalar_type() == at::kHalf, "conversion is supported for Half type only");
    return self.to(at::kFloat);
  }

  static at::Tensor call(const at::Tensor& self, int64_t dim, bool half_to_float) {
    return NativeCall::call(half_to_float ? widened(self) : self, dim, false);
  }

  static at::Tensor& call_out(const at::Tensor& self, int64_t dim, bool half_to_float, at::Tensor& out) {
    return NativeOut::call(half_to_float ? widened(self) : self, dim, false, out);
  }

  static at::Tensor narrowed_backward(const at::Tensor& grad, const at::Tensor& output, int64_t dim,
                                      at::ScalarType input_dtype) {
    TORCH_CHECK(grad.scalar_type() == at::kFloat && input_dtype == at::kHalf,
                "expected input and grad types to match, or input to be at::Half and grad to be at::Float");
    return NativeBackward::call(grad, output, dim, at::kFloat).to(at::kHalf);
  }

  static at::Tensor backward(const at::Tensor& grad, const at::Tensor& output, int64_t dim,
                             at::ScalarType input_dtype) {
    return grad.scalar_type() == input_dtype ? NativeBackward::call(grad, output, dim, input_dtype)
                                             : narrowed_backward(grad, output, dim, input_dtype);
  }

  static at::Tensor& backward_out(const at::Tensor& grad, const at::Tensor& output, int64_t dim,
                                  at::ScalarType input_dtype, at::Tensor& out) {
    if (grad.scalar_type() == input_dtype) {
      return NativeBackwardOut::call(grad, output, dim, input_dtype, out);
    }
    at::native::resize_output(out, grad.sizes());
    return out.copy_(narrowed_backward(grad, output, dim, input_dtype));
  }

  static void implement(forward::Registrar& registrar) {
    registrar.implement<typename NativeCall::Op>(TORCH_FN(call));
    registrar.implement<typename NativeOut::Op>(TORCH_FN(call_out));
    registrar.implement<typename NativeBackward::Op>(TORCH_FN(backward));
    registrar.implement<typename NativeBackwardOut::Op>(TORCH_FN(backward_out));
  }
};

constexpr CheckedArgument kInput[] = {{0, "self"}};
constexpr CheckedArgument kInputAndOut[] = {{3, "out"}, {0, "self"}};
constexpr CheckedArgument kGradients[] = {{0, "grad_output"}, {1, "output"}};
constexpr CheckedArgument kGradientsAndOut[] = {{4, "grad_input"}, {0, "grad_output"}, {1, "output"}};
constexpr CheckedArgument kLogGradientsAndOut[] = {{4, "out"}, {0, "grad_output"}, {1, "output"}};

constexpr Rule kSoftmax{Mixing::kSameDevice, "wrapper_CUDA__softmax", kInput, std::size(kInput)};
constexpr Rule kSoftmaxOut{Mixing::kSameDevice, "wrapper_CUDA__softmax_out_out", kInputAndOut, std::size(kInputAndOut)};
constexpr Rule kSoftmaxBackward{Mixing::kSameDevice, "wrapper_CUDA__softmax_backward_data", kGradients,
                                std::size(kGradients)};
constexpr Rule kSoftmaxBackwardOut{Mixing::kSameDevice, "wrapper_CUDA__softmax_backward_data_out_out", kGradientsAndOut,
                                   std::size(kGradientsAndOut)};
constexpr Rule kLogSoftmax{Mixing::kSameDevice, "wrapper_CUDA__log_softmax", kInput, std::size(kInput)};
constexpr Rule kLogSoftmaxOut{Mixing::kSameDevice, "wrapper_CUDA__log_softmax_out_out", kInputAndOut,
                              std::size(kInputAndOut)};
constexpr Rule kLogSoftmaxBackward{Mixing::kSameDevice, "wrapper_CUDA__log_softmax_backward_data", kGradients,
                                   std::size(kGradients)};
constexpr Rule kLogSoftmaxBackwardOut{Mixing::kSameDevice, "wrapper_CUDA__log_softmax_backward_data_out_out",
                                      kLogGradientsAndOut, std::size(kLogGradientsAndOut)};

using Softmax = Kernels<Native<at::_ops::_softmax, kSoftmax>, Native<at::_ops::_softmax_out, kSoftmaxOut>,
                        Native<at::_ops::_softmax_backward_data, kSoftmaxBackward>,
                        Native<at::_ops::_softmax_backward_data_out, kSoftmaxBackwardOut>>;
using LogSoftmax =
    Kernels<Native<at::_ops::_log_softmax, kLogSoftmax>, Native<at::_ops::_log_softmax_out, kLogSoftmaxOut>,
            Native<at::_ops::_log_softmax_backward_data, kLogSoftmaxBackward>,
            Native<at::_ops::_log_softmax_backward_data_out, kLogSoftmaxBackwardOut>>;

}  // namespace

void register_softmax(forward::Registrar& registrar) {
  Softmax::implement(registrar);
  LogSoftmax::implement(registrar);
}

}  // namespace torchdevice::aten
