// aten/SemiStructuredPruning.cpp: dense matrices made 2:4 sparse in rows and columns (prune_dense_static_sort of
// torch.sparse's SparseSemiStructuredTensor), packed as CUTLASS and cuSPARSELt expect it: see aten/SemiStructured.cpp.

#include <ATen/TensorOperators.h>
#include <ATen/ops/_cslt_compress.h>
#include <ATen/ops/_sparse_semi_structured_apply_dense_ops.h>
#include <ATen/ops/_sparse_semi_structured_apply_ops.h>
#include <ATen/ops/_sparse_semi_structured_tile_ops.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/where.h>

#include "aten/SemiStructured.h"

namespace torchdevice::aten {
namespace {

using Tensors = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

constexpr int64_t kKept = 2;  ///< of four in a row or a column

/// Blocks of `size` by `size`, a row of the result each.
at::Tensor blocks_of(const at::Tensor& matrix, int64_t size) {
  return matrix.reshape({matrix.size(0) / size, size, matrix.size(1) / size, size})
      .permute({0, 2, 1, 3})
      .reshape({-1, size * size});
}

at::Tensor from_blocks(const at::Tensor& blocks, at::IntArrayRef sizes, int64_t size) {
  return blocks.reshape({sizes[0] / size, sizes[1] / size, size, size}).permute({0, 2, 1, 3}).reshape(sizes);
}

/// What remains: of each block of four by four the largest elements, as long as their row and column have room.
at::Tensor largest(const at::Tensor& input, std::string_view algorithm) {
  const bool by_magnitude = algorithm == "largest_abs_values_greedy";
  TORCH_CHECK(by_magnitude || algorithm.empty() || algorithm == "largest_values_greedy", "Unknown algorithm \"",
              algorithm, "\"");
  const at::Tensor blocks = blocks_of(by_magnitude ? input.abs() : input, 4);
  const at::Tensor order = std::get<1>(blocks.sort(/*stable=*/true, 1, /*descending=*/true));
  at::Tensor kept = blocks.new_zeros(blocks.sizes(), blocks.options().dtype(at::kBool));
  at::Tensor in_row = order.new_zeros({order.size(0), 4});
  at::Tensor in_column = order.new_zeros({order.size(0), 4});
  for (int64_t rank = 0; rank < order.size(1); ++rank) {
    const at::Tensor place = order.narrow(1, rank, 1);
    const at::Tensor row = place.div(4, "floor");
    const at::Tensor column = place.remainder(4);
    const at::Tensor fits = (in_row.gather(1, row) < kKept).logical_and(in_column.gather(1, column) < kKept);
    in_row.scatter_add_(1, row, fits.to(at::kLong));
    in_column.scatter_add_(1, column, fits.to(at::kLong));
    kept.scatter_(1, place, fits);
  }
  return from_blocks(kept, input.sizes(), 4);
}

/// Which two of each group of four columns are kept, in order; (rows, columns / 4, 2).
at::Tensor kept_indices(const at::Tensor& kept) {
  const at::Tensor groups = kept.reshape({kept.size(0), -1, 4}).to(at::kChar);
  const at::Tensor first = std::get<1>(groups.sort(/*stable=*/true, -1, /*descending=*/true)).narrow(-1, 0, kKept);
  return std::get<0>(first.sort(-1));
}

at::Tensor pruned(const at::Tensor& input, const at::Tensor& kept) {
  return at::where(kept, input, 0).to(input.dtype());
}

at::Tensor packed_values(const at::Tensor& input, const at::Tensor& kept) {
  return pruned(input, kept).reshape({input.size(0), -1, 4}).gather(-1, kept_indices(kept)).flatten(1);
}

/// Four groups of four columns in 16 bits, in CUTLASS's order.
at::Tensor packed_metadata(const at::Tensor& kept) {
  const at::Tensor indices = kept_indices(kept).reshape({kept.size(0), -1, 8});
  const at::Tensor shifts = at::arange(8, indices.options()) * 2;
  const at::Tensor metadata = indices.bitwise_left_shift(shifts).sum(-1).to(at::kShort);
  const at::Tensor places = cutlass_places(metadata.size(0), metadata.size(1), /*bytes=*/2, metadata.options());
  return metadata.new_empty({metadata.numel()}).scatter_(0, places.flatten(), metadata.flatten()).view_as(metadata);
}

/// A bit for each element of each block of eight by eight, of its four quarters one after the other.
at::Tensor packed_mask(const at::Tensor& kept) {
  const at::Tensor quarters =
      kept.reshape({kept.size(0) / 8, 2, 4, kept.size(1) / 8, 2, 4}).permute({0, 3, 1, 4, 2, 5});
  const at::Tensor bits = quarters.reshape({kept.size(0) / 8, kept.size(1) / 8, 8, 8}).to(at::kLong);
  return bits.bitwise_left_shift(at::arange(8, bits.options())).sum(-1).to(at::kByte);
}

at::Tensor unpacked_mask(const at::Tensor& masks) {
  const int64_t rows = masks.size(0);
  const int64_t columns = masks.size(1);
  const at::Tensor bits =
      masks.to(at::kLong).unsqueeze(-1).bitwise_right_shift(at::arange(8, masks.options().dtype(at::kLong)));
  const at::Tensor quarters = bits.bitwise_and(1).reshape({rows, columns, 2, 2, 4, 4}).permute({0, 2, 4, 1, 3, 5});
  return quarters.reshape({rows * 8, columns * 8}).to(at::kBool);
}

void check_input(const at::Tensor& input) {
  TORCH_CHECK(input.dim() == 2, "Can only sparsify 2d tensors");
  TORCH_CHECK(input.stride(1) == 1, "Can only sparsify contiguous tensors. Sparsify the transpose otherwise.");
}

Tensors tile(const at::Tensor& input, std::string_view algorithm, bool use_cutlass) {
  check_input(input);
  TORCH_CHECK(input.scalar_type() == at::kHalf || input.scalar_type() == at::kBFloat16,
              "Unsupported dtype for _sparse_semi_structured_tile: ", input.scalar_type());
  TORCH_CHECK(input.size(1) % 32 == 0, "Number of cols should be multiple of 32");
  TORCH_CHECK(input.size(0) % 32 == 0, "Number of rows should be multiple of 32");
  const at::Tensor kept = largest(input, algorithm);
  const at::Tensor transposed = input.t();
  if (use_cutlass) {
    return {packed_values(input, kept), packed_metadata(kept), packed_values(transposed, kept.t()),
            packed_metadata(kept.t()), packed_mask(kept)};
  }
  const auto compressed = [](const at::Tensor& dense) { return at::_cslt_compress(dense.contiguous()); };
  const at::Tensor dense = pruned(input, kept);
  // cuSPARSELt keeps its metadata in the compressed matrix.
  const at::Tensor none = input.new_empty({0}, input.options().dtype(at::kShort));
  return {compressed(dense), none, compressed(dense.t()), none, packed_mask(kept)};
}

std::tuple<at::Tensor, at::Tensor> apply(const at::Tensor& input, const at::Tensor& masks) {
  check_input(input);
  const at::Tensor kept = unpacked_mask(masks);
  return {packed_values(input, kept), packed_values(input.t(), kept.t())};
}

at::Tensor apply_dense(const at::Tensor& input, const at::Tensor& masks) {
  check_input(input);
  return pruned(input, unpacked_mask(masks));
}

}  // namespace

void register_semi_structured_pruning(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_sparse_semi_structured_tile>(TORCH_FN(tile));
  registrar.implement<at::_ops::_sparse_semi_structured_apply>(TORCH_FN(apply));
  registrar.implement<at::_ops::_sparse_semi_structured_apply_dense>(TORCH_FN(apply_dense));
}

}  // namespace torchdevice::aten
