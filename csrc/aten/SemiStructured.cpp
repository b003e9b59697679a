// aten/SemiStructured.cpp: products with 2:4 sparse matrices (torch.sparse.to_sparse_semi_structured): the sparse
// matrix is made dense again. CUTLASS's layout is that of torch.sparse._semi_structured_conversions; cuSPARSELt's is
// opaque, so it is one of ours of the same size.

#include "aten/SemiStructured.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_cslt_compress_ops.h>
#include <ATen/ops/_cslt_sparse_mm_ops.h>
#include <ATen/ops/_cslt_sparse_mm_search_ops.h>
#include <ATen/ops/_sparse_semi_structured_addmm_ops.h>
#include <ATen/ops/_sparse_semi_structured_linear_ops.h>
#include <ATen/ops/_sparse_semi_structured_mm_ops.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>

#include "aten/OptionalTensor.h"
#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

using OptionalType = std::optional<at::ScalarType>;

/// Wide enough that products of this type are summed as CUDA does: integers exactly.
at::Tensor summable(const at::Tensor& tensor) {
  return tensor.to(at::isIntegralType(tensor.scalar_type(), false) ? at::kDouble : at::kFloat);
}

/// Rounded and saturated for int8, as cuSPARSELt does.
at::Tensor narrowed(const at::Tensor& wide, at::ScalarType dtype) {
  return (dtype == at::kChar ? wide.round().clamp(-128, 127) : wide).to(dtype);
}

/// The two-bit numbers in `packed`, lowest first, along a new last dimension.
at::Tensor bit_pairs(const at::Tensor& packed, int64_t count) {
  std::vector<at::Tensor> pairs;
  pairs.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    pairs.push_back(packed.bitwise_right_shift(2 * i).bitwise_and(3).to(at::kLong));
  }
  return at::stack(pairs, -1);
}

/// `values` (rows, kept) spread over groups of four columns, by indices of the same shape.
at::Tensor spread(const at::Tensor& values, const at::Tensor& indices) {
  const int64_t rows = values.size(0);
  const at::Tensor groups = at::arange(values.size(1) / 2, indices.options()).repeat_interleave(2) * 4;
  return values.new_zeros({rows, values.size(1) * 2}).scatter(1, groups + indices, values);
}

at::Tensor from_cutlass(const at::Tensor& values, const at::Tensor& metadata) {
  TORCH_CHECK(metadata.scalar_type() == at::kShort || metadata.scalar_type() == at::kInt, "Invalid datatype ",
              metadata.scalar_type(), " of meta matrix");
  const int64_t bytes = metadata.element_size();
  const at::Tensor places = cutlass_places(metadata.size(0), metadata.size(1), bytes, metadata.options());
  const at::Tensor ordered = metadata.reshape(-1).gather(0, places.reshape(-1)).view(metadata.sizes());
  const at::Tensor indices = bit_pairs(ordered, bytes * 4).flatten(1);
  if (values.scalar_type() != at::kFloat) {
    return spread(values, indices);
  }
  // A float32 is described as two halves of a group of four.
  const at::Tensor halves = values.contiguous().view(at::kShort);
  return spread(halves, indices).view(at::kFloat);
}

/// What remains of 2:4 sparse matrices, then two bits for each as its place in its group.
at::Tensor cslt_compress(const at::Tensor& dense) {
  TORCH_CHECK(dense.dim() == 2 && dense.size(1) % 16 == 0,
              "_cslt_compress expects a matrix whose number of columns is a multiple of 16, got ", dense.sizes());
  const at::Tensor groups = dense.contiguous().view({-1, 4});
  const at::Tensor first_nonzero =
      std::get<1>((groups != 0).to(at::kChar).sort(/*stable=*/true, 1, /*descending=*/true));
  const at::Tensor indices = std::get<0>(first_nonzero.narrow(1, 0, 2).sort(1));
  const at::Tensor places = at::arange(4, indices.options()) * 2;
  const at::Tensor metadata = indices.view({-1, 4}).bitwise_left_shift(places).sum(1).to(at::kByte);
  const at::Tensor values = groups.gather(1, indices).contiguous().view(-1).view(at::kByte);
  return at::cat({values, metadata}).view(dense.scalar_type());
}

at::Tensor from_cslt(const at::Tensor& compressed, int64_t columns) {
  const at::Tensor bytes = compressed.contiguous().view(-1).view(at::kByte);
  const int64_t element = compressed.element_size();
  // Of n elements: n / 2 values, and n / 8 bytes.
  const int64_t elements = bytes.numel() * 8 / (4 * element + 1);
  TORCH_CHECK(columns > 0 && elements % columns == 0, "compressed_A of ", elements,
              " elements does not go with dense_B of ", columns, " rows");
  const int64_t rows = elements / columns;
  const at::Tensor values =
      bytes.narrow(0, 0, elements / 2 * element).view(compressed.scalar_type()).view({rows, columns / 2});
  const at::Tensor indices = bit_pairs(bytes.narrow(0, elements / 2 * element, elements / 8), 4);
  return spread(values, indices.view({rows, columns / 2}));
}

at::Tensor cslt_sparse_mm(const at::Tensor& compressed, const at::Tensor& dense, const OptionalTensor& bias,
                          const OptionalTensor& alpha, OptionalType out_dtype, bool transpose_result,
                          int64_t /*alg_id*/, int64_t /*split_k*/, int64_t /*split_k_mode*/) {
  TORCH_CHECK(compressed.scalar_type() == dense.scalar_type(),
              "_cslt_sparse_mm expects compressed_A and dense_B of one type, got ", compressed.scalar_type(), " and ",
              dense.scalar_type());
  at::Tensor result = at::matmul(summable(from_cslt(compressed, dense.size(0))), summable(dense));
  if (given(alpha)) {
    result = result * (alpha->numel() == 1 ? alpha->reshape({}) : alpha->view({-1, 1}));
  }
  if (given(bias)) {
    result = result + bias->view({-1, 1});
  }
  result = narrowed(result, out_dtype.value_or(dense.scalar_type()));
  return transpose_result ? result.t().contiguous() : result;
}

/// There is one algorithm.
int64_t cslt_sparse_mm_search(const at::Tensor&, const at::Tensor&, const OptionalTensor&, const OptionalTensor&,
                              OptionalType, bool) {
  return 0;
}

/// CUTLASS multiplies int8 matrices in one combination of layouts.
void check_int8_layouts(const at::Tensor& values, const at::Tensor& dense) {
  const auto layout = [](const at::Tensor& matrix) { return matrix.stride(1) == 1 ? "row-major" : "column_major"; };
  const std::string_view left = layout(values);
  const std::string_view right = layout(dense);
  TORCH_CHECK(dense.scalar_type() != at::kChar || (left == "row-major" && right == "column_major"),
              "spgemm_cutlass_dispatch_layouts_dispatch_layouts: Combination of ", left, " and ", right,
              " layouts for input tensors is not supported");
}

at::Tensor mm(const at::Tensor& values, const at::Tensor& metadata, const at::Tensor& dense, OptionalType out_dtype) {
  check_int8_layouts(values, dense);
  const at::Tensor product = at::matmul(summable(from_cutlass(values, metadata)), summable(dense));
  return narrowed(product, out_dtype.value_or(dense.scalar_type()));
}

at::Tensor addmm(const at::Tensor& input, const at::Tensor& values, const at::Tensor& metadata, const at::Tensor& dense,
                 const at::Scalar& alpha, const at::Scalar& beta, OptionalType out_dtype) {
  check_int8_layouts(values, dense);
  const at::Tensor added = input.dim() == 1 ? input.unsqueeze(1) : input;
  const at::Tensor product = at::matmul(summable(from_cutlass(values, metadata)), summable(dense));
  return narrowed(summable(added) * beta + product * alpha, out_dtype.value_or(dense.scalar_type()));
}

at::Tensor linear(const at::Tensor& input, const at::Tensor& values, const at::Tensor& metadata,
                  const OptionalTensor& bias, std::optional<std::string_view> activation, OptionalType out_dtype) {
  at::Tensor result = at::matmul(summable(input), summable(from_cutlass(values, metadata)).t());
  if (given(bias)) {
    result = result + *bias;
  }
  const std::string_view name = activation.value_or("none");
  TORCH_CHECK(name == "none" || name == "relu" || name == "silu", "_sparse_semi_structured_linear: Activation \"", name,
              "\" is not supported");
  if (name == "relu") {
    result = result.relu();
  }
  if (name == "silu") {
    result = at::silu(result);
  }
  // CUTLASS sums int8 products in int32.
  return result.to(out_dtype.value_or(input.scalar_type() == at::kChar ? at::kInt : input.scalar_type()));
}

}  // namespace

// reorder_meta() of CUTLASS's host_reorder.h, in ColumnMajorInterleaved<2>.
at::Tensor cutlass_places(int64_t rows, int64_t columns, int64_t bytes, const at::TensorOptions& options) {
  const int64_t group = bytes == 2 ? 32 : 16;
  const int64_t interweave = bytes == 2 ? 4 : 2;
  const at::Tensor line = at::arange(rows, options.dtype(at::kLong)).unsqueeze(1);
  const at::Tensor column = at::arange(columns, options.dtype(at::kLong)).unsqueeze(0);
  const at::Tensor row =
      line.div(group, "floor") * group + line.remainder(8) * interweave + line.remainder(group).div(8, "floor");
  const at::Tensor odd_row = row.remainder(2);
  const at::Tensor odd_column = column.remainder(2);
  // Of each block of two by two, the corners off the diagonal change places.
  const at::Tensor shift = (1 - odd_row) * odd_column - odd_row * (1 - odd_column);
  const at::Tensor to_row = row + shift;
  const at::Tensor to_column = column - shift;
  return to_column.div(2, "floor") * (rows * 2) + to_row * 2 + to_column.remainder(2);
}

void register_semi_structured(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_cslt_compress>(TORCH_FN(cslt_compress));
  registrar.implement<at::_ops::_cslt_sparse_mm>(TORCH_FN(cslt_sparse_mm));
  registrar.implement<at::_ops::_cslt_sparse_mm_search>(TORCH_FN(cslt_sparse_mm_search));
  registrar.implement<at::_ops::_sparse_semi_structured_mm>(TORCH_FN(mm));
  registrar.implement<at::_ops::_sparse_semi_structured_addmm>(TORCH_FN(addmm));
  registrar.implement<at::_ops::_sparse_semi_structured_linear>(TORCH_FN(linear));
  register_semi_structured_pruning(registrar);
}

}  // namespace torchdevice::aten
