// aten/Int4Products.cpp: products with matrices of 4-bit integers in the layout of CUDA's tensor cores, so that weights
// packed on a GPU mean the same here (torch's native/cuda/int4mm.cu, matrix_to_m16n8k16_Bint4_layout).

#include <ATen/core/Tensor.h>
#include <ATen/ops/_convert_weight_to_int4pack_ops.h>
#include <ATen/ops/_weight_int4pack_mm_ops.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>

#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

// Note [Packed int4]
// A tile is 8 rows by 16 columns. Its 32 lanes are 8 rows by 4 columns of bytes; a byte has two neighbouring columns,
// the first one above. Two tiles make an int32 for each lane, of the bytes that lie 4 apart in either: the upper halves
// of all four first. `inner` tiles, 2, 4 or 8, lie together: the result has the sizes
// [rows / 8][columns / 16 inner][32][inner / 2].
constexpr int64_t kRows = 8;
constexpr int64_t kColumns = 16;
constexpr int64_t kLanes = 32;

bool is_inner(int64_t tiles) { return tiles == 2 || tiles == 4 || tiles == 8; }

at::Tensor pack(const at::Tensor& self, int64_t inner) {
  TORCH_CHECK(self.dim() == 2, "w must be a 2D tensor");
  TORCH_CHECK(self.scalar_type() == at::kByte, "expected w to be uint8, got ", self.scalar_type());
  TORCH_CHECK(is_inner(inner), "innerKTiles must be 2, 4 or 8, got ", inner);
  TORCH_CHECK(2 * self.size(1) % (inner * kColumns) == 0, "the columns of w, ", 2 * self.size(1),
              " in pairs, must be a multiple of innerKTiles * 16 = ", inner * kColumns);
  const int64_t missing = (kRows - self.size(0) % kRows) % kRows;
  const at::Tensor rows = missing == 0 ? self : at::constant_pad_nd(self, {0, 0, 0, missing});
  // rows / 8, row, tiles / inner, pair of tiles, tile, half of its bytes, byte
  const at::Tensor bytes = rows.reshape({-1, kRows, 2 * rows.size(1) / (inner * kColumns), inner / 2, 2, 2, 4});
  const at::Tensor lanes = bytes.permute({0, 2, 1, 6, 3, 4, 5});
  const auto both_halves = [](const at::Tensor& nibbles) {
    return nibbles.select(-1, 0).bitwise_or(nibbles.select(-1, 1).bitwise_left_shift(4));
  };
  const at::Tensor packed =
      at::stack({both_halves(lanes.bitwise_right_shift(4)), both_halves(lanes.bitwise_and(15))}, /*dim=*/-2);
  return packed.reshape({packed.size(0), packed.size(1), kLanes, 2 * inner}).view(at::kInt);
}

/// [rows][columns] of 0 to 15.
at::Tensor unpack(const at::Tensor& packed) {
  const at::Tensor bytes = packed.view(at::kByte).view({packed.size(0), packed.size(1), kRows, 4, -1, 2, 2});
  const at::Tensor nibbles = at::stack({bytes.bitwise_and(15), bytes.bitwise_right_shift(4)}, /*dim=*/-1);
  return nibbles.permute({0, 2, 1, 4, 6, 7, 3, 5}).reshape({packed.size(0) * kRows, -1});
}

at::Tensor product(const at::Tensor& self, const at::Tensor& mat2, int64_t group, const at::Tensor& scales_and_zeros) {
  TORCH_CHECK(self.dim() == 2, "x must be a 2D tensor");
  TORCH_CHECK(mat2.dim() == 4, "w must be a 4D tensor");
  TORCH_CHECK(
      self.scalar_type() == at::kFloat || self.scalar_type() == at::kHalf || self.scalar_type() == at::kBFloat16,
      "expected x to be f32/f16/bf16, got ", self.scalar_type());
  TORCH_CHECK(mat2.scalar_type() == at::kInt, "expected w to be int32, got ", mat2.scalar_type());
  TORCH_CHECK(mat2.is_contiguous() && mat2.size(2) == kLanes && is_inner(2 * mat2.size(3)),
              "w must be what _convert_weight_to_int4pack returns, got sizes ", mat2.sizes());
  const int64_t columns = mat2.size(1) * 2 * mat2.size(3) * kColumns;
  TORCH_CHECK(self.size(1) == columns, "x has ", self.size(1), " columns and w ", columns);
  TORCH_CHECK(group == 32 || group == 64 || group == 128 || group == 256, "qGroupSize must be 32, 64, 128 or 256, got ",
              group);
  const int64_t rows = mat2.size(0) * kRows;
  const std::vector<int64_t> expected{columns / group, rows, 2};
  TORCH_CHECK(columns % group == 0 && scales_and_zeros.sizes() == expected, "qScaleAndZeros must have the sizes ",
              at::IntArrayRef(expected), " for groups of ", group, " columns, got ", scales_and_zeros.sizes());
  const at::Tensor by_row = scales_and_zeros.to(at::kFloat).transpose(0, 1).unsqueeze(2);
  const at::Tensor numbers = unpack(mat2).to(at::kFloat).sub_(8).view({rows, -1, group});
  const at::Tensor weight = numbers.mul_(by_row.select(-1, 0)).add_(by_row.select(-1, 1));
  return at::mm(self, weight.view({rows, columns}).to(self.scalar_type()).t());
}

}  // namespace

void register_int4_products(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_convert_weight_to_int4pack>(TORCH_FN(pack));
  registrar.implement<at::_ops::_weight_int4pack_mm>(TORCH_FN(product));
}

}  // namespace torchdevice::aten
