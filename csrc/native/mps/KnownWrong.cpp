// native/mps/KnownWrong.cpp: the table of what MPS gets wrong in the supported releases of torch.

#include "native/mps/KnownWrong.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs_ops.h>
#include <ATen/ops/addcmul_ops.h>
#include <ATen/ops/addmm_ops.h>
#include <ATen/ops/all_ops.h>
#include <ATen/ops/any_ops.h>
#include <ATen/ops/argmax_ops.h>
#include <ATen/ops/argmin_ops.h>
#include <ATen/ops/baddbmm_ops.h>
#include <ATen/ops/bmm_ops.h>
#include <ATen/ops/cat_ops.h>
#include <ATen/ops/embedding_ops.h>
#include <ATen/ops/fill_ops.h>
#include <ATen/ops/index_select_ops.h>
#include <ATen/ops/mm_ops.h>
#include <ATen/ops/std_mean_ops.h>
#include <ATen/ops/std_ops.h>
#include <ATen/ops/var_mean_ops.h>
#include <ATen/ops/var_ops.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zero_ops.h>

#include <algorithm>
#include <initializer_list>
#include <regex>
#include <string_view>

#include "native/mps/Guarded.h"
#include "settings/Settings.h"

namespace torchdevice {
namespace {

bool any_tensor(DoubtfulCall& call, bool (*is_one)(const at::Tensor&)) {
  return std::any_of(call.stack().begin(), call.stack().end(), [&](const c10::IValue& value) {
    if (value.isTensor()) {
      return value.toTensor().defined() && is_one(value.toTensor());
    }
    if (value.isTensorList()) {
      const auto tensors = value.toTensorVector();
      return std::any_of(tensors.begin(), tensors.end(),
                         [&](const at::Tensor& tensor) { return tensor.defined() && is_one(tensor); });
    }
    return false;
  });
}

/// To the CPU if one of its tensors is such a one.
template <bool (*is_one)(const at::Tensor&)>
void to_host_if_any(DoubtfulCall& call) {
  any_tensor(call, is_one) ? call.go_to_host() : call.go_on();
}

bool is_complex(const at::Tensor& tensor) { return tensor.is_complex(); }
bool is_integral(const at::Tensor& tensor) { return at::isIntegralType(tensor.scalar_type(), /*includeBool=*/false); }
bool is_long_integer(const at::Tensor& tensor) { return tensor.scalar_type() == at::kLong; }
bool is_huge(const at::Tensor& tensor) {
  constexpr int64_t kMostIndices = int64_t{2} * 1024 * 1024 * 1024;
  return tensor.layout() == at::kStrided && tensor.numel() > kMostIndices;
}

void weighted_bincount(DoubtfulCall& call) {
  const at::Tensor weights = tensor_argument(call, 1);
  weights.defined() && weights.scalar_type() != at::kFloat ? call.go_to_host() : call.go_on();
}

/// Beyond 24 bits MPS's passes through float32.
void absolute_integers(DoubtfulCall& call) {
  const at::Tensor self = tensor_argument(call, 0);
  if (!self.defined() || !is_integral(self)) {
    call.go_on();
    return;
  }
  call.stack().assign(1, at::where(self < 0, -self, self));
}

/// Sizes of the output that do not divide those of the input.
void uneven_pools(DoubtfulCall& call) {
  const at::Tensor self = tensor_argument(call, 0);
  const auto sizes = call.stack()[1].toIntVector();
  bool divides = true;
  for (size_t i = 0; self.defined() && i < sizes.size() && static_cast<int64_t>(sizes.size()) < self.dim(); ++i) {
    const int64_t size = self.size(self.dim() - static_cast<int64_t>(sizes.size() - i));
    divides &= sizes[i] > 0 && size % sizes[i] == 0;
  }
  divides ? call.go_on() : call.go_to_host();
}

void broadcast_solve(DoubtfulCall& call) {
  const at::Tensor matrix = tensor_argument(call, 0);
  const at::Tensor right = tensor_argument(call, 1);
  const bool same = !matrix.defined() || !right.defined() || matrix.dim() == right.dim()
                        ? !matrix.defined() || matrix.dim() < 3 || !right.defined() ||
                              matrix.sizes().slice(0, matrix.dim() - 2) == right.sizes().slice(0, matrix.dim() - 2)
                        : right.dim() == matrix.dim() - 1 && right.sizes() == matrix.sizes().slice(0, matrix.dim() - 1);
  same ? call.go_on() : call.go_to_host();
}

std::vector<KnownWrong::Operator> named(std::initializer_list<const char*> names) {
  std::vector<KnownWrong::Operator> operators;
  for (const char* name : names) {
    operators.push_back({std::string("aten::") + name});
  }
  return operators;
}

/// Operators that are often called, each behind a look at its tensors; and others.
template <bool (*is_doubtful)(const at::Tensor&), class... Op>
std::vector<KnownWrong::Operator> guarded(std::initializer_list<const char*> others = {}) {
  auto operators = named(others);
  const auto add = [&](const char* name, const char* overload, KnownWrong::Guard guard) {
    operators.push_back({*overload == '\0' ? name : std::string(name) + "." + overload, guard});
  };
  (add(Op::name, Op::overload_name, &Guarded<Op, is_doubtful>::make), ...);
  return operators;
}

std::vector<KnownWrong::Operator> products() {
  return guarded<&is_long_or_complex, at::_ops::mm, at::_ops::addmm, at::_ops::bmm, at::_ops::baddbmm>(
      {"mm.out", "addmm.out", "addmm_", "bmm.out", "baddbmm.out", "baddbmm_"});
}

/// M3 and later are known to be right. A name that tells nothing may be an older one's.
bool sums_behind_operands(const std::string& processor) {
  std::smatch match;
  return !std::regex_search(processor, match, std::regex("Apple M([0-9]+)")) || std::stoi(match[1]) < 3;
}

bool is_trusted() {
  const std::string_view text = read_setting("TORCHDEVICE_TRUST_MPS").value_or("");
  TORCH_CHECK_VALUE(text.empty() || text == "0" || text == "1", "TORCHDEVICE_TRUST_MPS must be 0 or 1, got '", text,
                    "'");
  return text == "1";
}

}  // namespace

std::vector<KnownWrong> mps_known_wrong(const std::string& processor) {
  if (is_trusted()) {
    return {};
  }
  std::vector<KnownWrong> rules{
      {named({"mm.out",
              "bmm.out",
              "addr.out",
              "addbmm.out",
              "nan_to_num.out",
              "native_batch_norm.out",
              "linalg_solve_triangular.out",
              "_fft_c2c.out",
              "_fft_c2r.out",
              "_fft_r2c.out",
              "avg_pool2d.out",
              "logical_and.out",
              "logical_or.out",
              "logical_xor.out",
              "logical_not.out",
              "norm.out",
              "norm.dtype_out",
              "mean.out",
              "logit.out",
              "log_sigmoid_forward.output"}),
       "out= is not resized, not warned of, or wrong", "the form without out=, whose result is copied",
       "torch/testing/_internal/common_mps.py", &copy_into_out},
      {products(), "complex products", "the CPU", "pytorch issue 167727", &to_host_if_any<&is_complex>},
      {guarded<&is_complex, at::_ops::var_correction, at::_ops::std_correction, at::_ops::var_mean_correction,
               at::_ops::std_mean_correction>({"var.correction_out", "std.correction_out"}),
       "var and std of complex numbers are complex", "the CPU", "torch/testing/_internal/common_mps.py",
       &to_host_if_any<&is_complex>},
      {named({"linalg_cholesky_ex", "linalg_cholesky_ex.L", "cholesky", "cholesky.out", "cholesky_inverse",
              "cholesky_inverse.out"}),
       "complex matrices are not positive-definite", "the CPU", "torch/testing/_internal/common_mps.py",
       &to_host_if_any<&is_complex>},
      {named({"_logcumsumexp", "_logcumsumexp.out"}), "complex logcumsumexp is 2 pi off", "the CPU",
       "torch/testing/_internal/common_mps.py", &to_host_if_any<&is_complex>},
      {named({"bincount"}), "bincount with weights is float32", "the CPU", "torch/testing/_internal/common_mps.py",
       &weighted_bincount},
      {guarded<&is_integral, at::_ops::abs>(), "abs of integers above 2^24", "where(x < 0, -x, x)",
       "pytorch issue 190052", &absolute_integers},
      {named({"abs.out", "abs_"}), "abs of integers above 2^24", "the CPU", "pytorch issue 190052",
       &to_host_if_any<&is_integral>},
      {guarded<&is_integral, at::_ops::addcmul, at::_ops::addcmul_>({"addcmul.out"}), "addcmul of integers", "the CPU",
       "pytorch issue 189420", &to_host_if_any<&is_integral>},
      {named({"_unique2"}), "unique of int64 above 2^24", "the CPU", "pytorch issue 195595",
       &to_host_if_any<&is_long_integer>},
      {named({"adaptive_max_pool2d", "adaptive_max_pool2d.out"}), "adaptive_max_pool2d to sizes that do not divide",
       "the CPU", "pytorch issue 190064", &uneven_pools},
      {named({"_linalg_solve_ex", "_linalg_solve_ex.result"}), "linalg.solve of batches that are broadcast", "the CPU",
       "pytorch issue 189134", &broadcast_solve},
      {named({"convolution", "convolution_backward"}), "conv_transpose3d of halves is refused", "float32",
       "torch/testing/_internal/common_mps.py", &widen_transposed_3d},
      {named({"convolution", "convolution_backward", "grid_sampler_2d", "grid_sampler_2d_backward", "grid_sampler_3d",
              "grid_sampler_3d_backward", "softplus", "softplus.out", "softplus_backward",
              "softplus_backward.grad_input"}),
       "strides, offsets and conjugates of arguments are ignored", "contiguous copies",
       "pytorch issues 192212, 180984, 169342, 131736, 171602", &lay_out_arguments},
      {named({"native_batch_norm", "native_batch_norm_backward", "_batch_norm_with_update", "batch_norm_backward",
              "_native_batch_norm_legit", "_native_batch_norm_legit.no_stats", "constant_pad_nd"}),
       "channels_last and strided arguments", "contiguous copies", "pytorch issues 175189, 190645",
       &lay_out_arguments_densely},
      {guarded<&is_huge, at::_ops::cat, at::_ops::embedding, at::_ops::index_select, at::_ops::fill__Scalar,
               at::_ops::zero_, at::_ops::argmax, at::_ops::argmin, at::_ops::any, at::_ops::all>(
           {"cat.out", "index_select.out", "argmax.out", "argmin.out", "avg_pool2d", "avg_pool2d.out",
            "max_pool2d_with_indices", "max_pool2d_with_indices.out", "upsample_nearest2d", "upsample_nearest2d.out"}),
       "tensors of more than 2^31 elements", "the CPU", "pytorch issues 189960, 188756, 194082, 194460, 185663, 161265",
       &to_host_if_any<&is_huge>},
  };
  if (sums_behind_operands(processor)) {
    rules.push_back({products(), "sums over 32,767 products or more, on M1 and M2", "sums of parts",
                     "pytorch issues 193487, 177116, 195163", &split_long_products});
  }
  return rules;
}

}  // namespace torchdevice
