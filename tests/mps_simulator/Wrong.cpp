// Wrong.cpp: what torch's MPS is known to compute wrong, behind a switch.

#include "Wrong.h"

#include <ATen/ATen.h>
#include <c10/util/strides.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace mps_simulator {
namespace {

template <size_t count>
bool is_among(const std::string& name, const std::array<std::string_view, count>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 6> kIgnoreStrides{
    "aten::convolution_overrideable", "aten::convolution_backward_overrideable",
    "aten::native_batch_norm",        "aten::native_batch_norm_backward",
    "aten::grid_sampler_2d",          "aten::softplus"};
constexpr std::array<std::string_view, 6> kLeaveOut{"aten::mm",   "aten::bmm",      "aten::nan_to_num",
                                                    "aten::mean", "aten::_fft_c2c", "aten::_fft_r2c"};
constexpr std::array<std::string_view, 4> kProducts{"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"};

/// Of a product: over how many elements it sums.
int64_t summed(const std::string& name, const Stack& arguments) {
  const bool adds = name == "aten::addmm" || name == "aten::baddbmm";
  return arguments[adds ? 2 : 1].toTensor().size(-2);
}

at::Tensor ignoring_strides(const at::Tensor& tensor, bool knows_formats) {
  if (knows_formats && tensor.is_contiguous(tensor.suggest_memory_format()) && tensor.storage_offset() == 0) {
    return tensor;
  }
  const auto elements = static_cast<int64_t>(tensor.storage().nbytes() / tensor.element_size());
  return elements >= tensor.numel() ? tensor.as_strided(tensor.sizes(), c10::contiguous_strides(tensor.sizes()), 0)
                                    : at::zeros_like(tensor);
}

}  // namespace

bool leaves_out(const Operator& op, const Stack& arguments) {
  const std::string& name = op.schema().name();
  const bool factorizes = name == "aten::linalg_cholesky_ex" || name == "aten::cholesky";
  TORCH_CHECK_LINALG(!factorizes || !arguments[0].toTensor().is_complex(),
                     "linalg.cholesky: (Batch element 0): The factorization could not be completed because the input "
                     "is not positive-definite (the leading minor of order 1 is not positive-definite).");
  TORCH_CHECK(name != "aten::convolution_overrideable" || arguments[0].toTensor().dim() != 5 ||
                  !arguments[6].toBool() || !at::isReducedFloatingType(arguments[0].toTensor().scalar_type()),
              "ConvTranspose 3D with BF16 or FP16 types is not supported on MPS");
  return is_among(name, kLeaveOut) && op.schema().overload_name() == "out" && arguments.back().toTensor().numel() == 0;
}

void spoil_arguments(const Operator& op, Stack& on_host) {
  if (!is_among(op.schema().name(), kIgnoreStrides)) {
    return;
  }
  const bool knows_formats = op.schema().name().find("batch_norm") == std::string::npos;
  const auto& formals = op.schema().arguments();
  for (size_t i = 0; i < on_host.size(); ++i) {
    if (on_host[i].isTensor() && on_host[i].toTensor().defined() && formals[i].alias_info() == nullptr) {
      on_host[i] = ignoring_strides(on_host[i].toTensor(), knows_formats);
    }
  }
}

void spoil_results(const Operator& op, const Stack& arguments, Stack& results) {
  const std::string& name = op.schema().name();
  if (is_among(name, kProducts) && summed(name, arguments) >= 32767 && results[0].toTensor().size(-2) >= 16 &&
      results[0].toTensor().size(-1) >= 16) {
    results[0].toTensor().add_(1000);
  } else if (name == "aten::abs" && !arguments[0].toTensor().is_floating_point()) {
    const at::Tensor result = results[0].toTensor();
    result.copy_(result.to(at::kFloat));
  } else if (name == "aten::bincount" && arguments[1].isTensor()) {
    results[0] = results[0].toTensor().to(at::kFloat);
  } else if (name == "aten::adaptive_max_pool2d" &&
             arguments[0].toTensor().size(-1) % results[0].toTensor().size(-1) != 0) {
    results[0].toTensor().add_(1);
  } else if (name == "aten::_linalg_solve_ex" && arguments[0].toTensor().dim() != arguments[1].toTensor().dim()) {
    results[0].toTensor().slice(0, 1).zero_();
  } else if ((name == "aten::var" || name == "aten::std") && arguments[0].toTensor().is_complex()) {
    results[0] = results[0].toTensor().to(at::kComplexFloat);
  }
}

}  // namespace mps_simulator
