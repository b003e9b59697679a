// forward/checks/ConvolutionTypes.h: convolutions of several types, and of tensors on the CPU and on CUDA, for which
// the CPU's backends have many texts.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "forward/checks/Checked.h"

namespace torchdevice::forward {

/// As torch's check_input_same_type_as_parameters, which guards every cuDNN convolution.
struct ConvolutionTypes {
  template <class... A>
  static void before(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                     const A&... /*arguments*/) {
    check(input, weight, "weight");
    if (bias.has_value() && bias->defined()) {
      check(input, *bias, "bias");
    }
  }

 private:
  static void check(const at::Tensor& input, const at::Tensor& parameter, const char* name) {
    TORCH_CHECK(input.options().type_equal(parameter.options()), "Input type (", input.toString(), ") and ", name,
                " type (", parameter.toString(), ") should be the same");
  }
};

}  // namespace torchdevice::forward
