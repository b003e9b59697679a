// aten/LuFactors.cpp: LU factors without pivoting, which cuSOLVER has and LAPACK has not.

#include <ATen/ops/_linalg_check_errors.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_lu_factor_ex_ops.h>
#include <ATen/ops/linalg_lu_ops.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/lu_unpack.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <iterator>
#include <tuple>

#include "forward/Forward.h"

namespace torchdevice::aten {
namespace {

using forward::CheckedArgument;
using forward::Mixing;
using forward::Rule;

constexpr CheckedArgument kLuMatrix[] = {{0, "A"}};
constexpr CheckedArgument kFactorsAndMatrix[] = {{3, "LU"}, {4, "pivots"}, {5, "info"}, {0, "A"}};
constexpr CheckedArgument kPartsAndMatrix[] = {{2, "P"}, {3, "L"}, {4, "U"}, {0, "A"}};
constexpr Rule kFactorRule{Mixing::kSameDevice, "wrapper_CUDA_linalg_lu_factor_ex", kLuMatrix, std::size(kLuMatrix)};
constexpr Rule kFactorOutRule{Mixing::kSameDevice, "wrapper_CUDA_linalg_lu_factor_ex_out_out", kFactorsAndMatrix,
                              std::size(kFactorsAndMatrix)};
constexpr Rule kLuRule{Mixing::kSameDevice, "wrapper_CUDA_linalg_lu", kLuMatrix, std::size(kLuMatrix)};
constexpr Rule kLuOutRule{Mixing::kSameDevice, "wrapper_CUDA_linalg_lu_out_out", kPartsAndMatrix,
                          std::size(kPartsAndMatrix)};

template <class Op, const Rule& rule>
using NativeOfLu = forward::WithFallbackIfAny<Op, forward::Forwarded<Op, rule>>;
using NativeFactor = NativeOfLu<at::_ops::linalg_lu_factor_ex, kFactorRule>;
using NativeFactorOut = NativeOfLu<at::_ops::linalg_lu_factor_ex_out, kFactorOutRule>;
using NativeLu = NativeOfLu<at::_ops::linalg_lu, kLuRule>;
using NativeLuOut = NativeOfLu<at::_ops::linalg_lu_out, kLuOutRule>;

using LuParts = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using WrittenLuParts = std::tuple<at::Tensor&, at::Tensor&, at::Tensor&>;

/// What the native kernel would compute, or refuse.
bool is_natives(const at::Tensor& matrix, bool pivot) {
  const at::ScalarType type = matrix.scalar_type();
  const bool has_lu =
      type == at::kFloat || type == at::kDouble || type == at::kComplexFloat || type == at::kComplexDouble;
  return pivot || matrix.dim() < 2 || !has_lu;
}

/// In place, by halves of the columns: nearly all of the work is in products of matrices.
void factor(const at::Tensor& matrix) {
  const int64_t rows = matrix.size(-2);
  const int64_t columns = matrix.size(-1);
  if (rows < 2) {
    return;
  }
  if (columns == 1) {
    const at::Tensor pivot = matrix.narrow(-2, 0, 1);
    matrix.narrow(-2, 1, rows - 1).div_(at::where(pivot.eq(0), 1, pivot));
    return;
  }
  const int64_t half = std::min(rows, columns) / 2;
  const at::Tensor left = matrix.narrow(-1, 0, half);
  const at::Tensor upper = matrix.narrow(-1, half, columns - half).narrow(-2, 0, half);
  const at::Tensor rest = matrix.narrow(-1, half, columns - half).narrow(-2, half, rows - half);
  factor(left);
  upper.copy_(at::linalg_solve_triangular(left.narrow(-2, 0, half), upper, /*upper=*/false, /*left=*/true,
                                          /*unitriangular=*/true));
  rest.sub_(at::matmul(left.narrow(-2, half, rows - half), upper));
  factor(rest);
}

/// LAPACK's: the number of the first pivot that is zero, or zero.
at::Tensor info_of(const at::Tensor& factors) {
  if (factors.numel() == 0) {
    return at::zeros(factors.sizes().slice(0, factors.dim() - 2), factors.options().dtype(at::kInt));
  }
  const at::Tensor is_zero = factors.diagonal(0, -2, -1).eq(0);
  const at::Tensor first = is_zero.to(at::kInt).argmax(-1).add_(1);
  return at::where(is_zero.any(-1), first, 0).to(at::kInt);
}

/// Rows stay where they are.
at::Tensor pivots_of(const at::Tensor& factors) {
  std::vector<int64_t> sizes = factors.sizes().slice(0, factors.dim() - 2).vec();
  sizes.push_back(std::min(factors.size(-2), factors.size(-1)));
  return at::arange(1, sizes.back() + 1, factors.options().dtype(at::kInt)).expand(sizes).contiguous();
}

LuParts lu_factor_ex(const at::Tensor& matrix, bool pivot, bool check_errors) {
  if (is_natives(matrix, pivot)) {
    return NativeFactor::call(matrix, pivot, check_errors);
  }
  const at::Tensor factors = matrix.mT().clone(at::MemoryFormat::Contiguous).mT();
  if (factors.numel() > 0) {
    factor(factors);
  }
  const at::Tensor info = info_of(factors);
  if (check_errors) {
    at::_linalg_check_errors(info, "torch.linalg.lu_factor_ex", matrix.dim() == 2);
  }
  return {factors, pivots_of(factors), info};
}

LuParts lu(const at::Tensor& matrix, bool pivot) {
  if (is_natives(matrix, pivot)) {
    return NativeLu::call(matrix, pivot);
  }
  const auto [factors, pivots, info] = lu_factor_ex(matrix, /*pivot=*/false, /*check_errors=*/false);
  return at::lu_unpack(factors, pivots, /*unpack_data=*/true, /*unpack_pivots=*/false);
}

/// Gives the caller's tensors the sizes that `results` have, and its values.
void write_lu_parts(const LuParts& results, at::Tensor& first, at::Tensor& second, at::Tensor& third) {
  first.copy_(std::get<0>(results));
  second.copy_(std::get<1>(results));
  third.copy_(std::get<2>(results));
}

WrittenLuParts lu_factor_ex_out(const at::Tensor& matrix, bool pivot, bool check_errors, at::Tensor& factors,
                                at::Tensor& pivots, at::Tensor& info) {
  if (is_natives(matrix, pivot)) {
    return NativeFactorOut::call(matrix, pivot, check_errors, factors, pivots, info);
  }
  const LuParts results = lu_factor_ex(matrix, pivot, check_errors);
  // It checks what is written, and gives it its sizes.
  NativeFactorOut::call(at::empty_like(matrix).zero_(), /*pivot=*/true, /*check_errors=*/false, factors, pivots, info);
  write_lu_parts(results, factors, pivots, info);
  return {factors, pivots, info};
}

WrittenLuParts lu_out(const at::Tensor& matrix, bool pivot, at::Tensor& permutation, at::Tensor& lower,
                      at::Tensor& upper) {
  if (is_natives(matrix, pivot)) {
    return NativeLuOut::call(matrix, pivot, permutation, lower, upper);
  }
  const auto [factors, pivots, info] = lu_factor_ex(matrix, /*pivot=*/false, /*check_errors=*/false);
  at::lu_unpack_out(permutation, lower, upper, factors, pivots, /*unpack_data=*/true, /*unpack_pivots=*/false);
  return {permutation, lower, upper};
}

}  // namespace

void register_lu_factors(forward::Registrar& registrar) {
  registrar.implement<at::_ops::linalg_lu_factor_ex>(TORCH_FN(lu_factor_ex));
  registrar.implement<at::_ops::linalg_lu_factor_ex_out>(TORCH_FN(lu_factor_ex_out));
  registrar.implement<at::_ops::linalg_lu>(TORCH_FN(lu));
  registrar.implement<at::_ops::linalg_lu_out>(TORCH_FN(lu_out));
}

}  // namespace torchdevice::aten
