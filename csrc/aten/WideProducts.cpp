// aten/WideProducts.cpp: matrix products of half tensors with a float32 result (out_dtype=), which only cuBLAS has; the
// checks and their order are those of torch's native/cuda/Blas.cpp.

#include <ATen/ops/addmm.h>
#include <ATen/ops/addmm_ops.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/baddbmm_ops.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/bmm_ops.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mm_ops.h>

#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

void check_out_dtype(at::ScalarType out_dtype, at::ScalarType input) {
  TORCH_CHECK(out_dtype == input || (out_dtype == at::kFloat && (input == at::kHalf || input == at::kBFloat16)),
              "out_dtype must be the same as input dtype or fp32 for fp16/bf16 inputs");
}

void check_matrix(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.dim() == 2, name, " must be a matrix, got ", tensor.dim(), "-D tensor");
}

void check_matrices(const at::Tensor& first, const char* first_name, const at::Tensor& mat2) {
  check_matrix(first, first_name);
  check_matrix(mat2, "mat2");
  TORCH_CHECK(first.size(1) == mat2.size(0), "mat1 and mat2 shapes cannot be multiplied (", first.size(0), "x",
              first.size(1), " and ", mat2.size(0), "x", mat2.size(1), ")");
}

void check_out(const at::Tensor& out, at::ScalarType out_dtype) {
  TORCH_CHECK(out_dtype == out.scalar_type(), "out_dtype must be the same as the dtype of the provided out tensor");
}

at::Tensor& mm_wide_out(const at::Tensor& self, const at::Tensor& mat2, at::ScalarType out_dtype, at::Tensor& out) {
  check_matrices(self, "self", mat2);
  check_out(out, out_dtype);
  TORCH_CHECK(self.scalar_type() == mat2.scalar_type(), "input dtypes must be the same");
  check_out_dtype(out_dtype, self.scalar_type());
  TORCH_CHECK(out.dim() == 2, "tensors must be 2-D");
  TORCH_CHECK(out.size(0) == self.size(0), "self dim 0 must match mat1 dim 0");
  TORCH_CHECK(out.size(1) == mat2.size(1), "self dim 1 must match mat2 dim 1");
  return at::mm_out(out, self.to(out_dtype), mat2.to(out_dtype));
}

at::Tensor mm_wide(const at::Tensor& self, const at::Tensor& mat2, at::ScalarType out_dtype) {
  at::Tensor out = at::empty({self.size(0), mat2.size(1)}, self.options().dtype(out_dtype));
  return mm_wide_out(self, mat2, out_dtype, out);
}

at::Tensor& addmm_wide_out(const at::Tensor& self, const at::Tensor& mat1, const at::Tensor& mat2,
                           at::ScalarType out_dtype, const at::Scalar& beta, const at::Scalar& alpha, at::Tensor& out) {
  check_matrices(mat1, "mat1", mat2);
  TORCH_CHECK(mat1.scalar_type() == mat2.scalar_type(), "mat1 and mat2 must have the same dtype, but got ",
              mat1.scalar_type(), " and ", mat2.scalar_type());
  check_out_dtype(out_dtype, mat1.scalar_type());
  check_out(out, out_dtype);
  TORCH_CHECK(out_dtype == self.scalar_type() || self.scalar_type() == mat1.scalar_type(),
              "self dtype must match either out_dtype or mat1 dtype");
  if (out.is_same(self)) {
    TORCH_CHECK(out.dim() == 2, "tensors must be 2-D");
    TORCH_CHECK(self.size(0) == mat1.size(0), "self dim 0 must match mat1 dim 0");
    TORCH_CHECK(self.size(1) == mat2.size(1), "self dim 1 must match mat2 dim 1");
  }
  return at::addmm_out(out, self.to(out_dtype), mat1.to(out_dtype), mat2.to(out_dtype), beta, alpha);
}

at::Tensor addmm_wide(const at::Tensor& self, const at::Tensor& mat1, const at::Tensor& mat2, at::ScalarType out_dtype,
                      const at::Scalar& beta, const at::Scalar& alpha) {
  check_matrix(mat1, "mat1");
  check_matrix(mat2, "mat2");
  at::Tensor out = at::empty({mat1.size(0), mat2.size(1)}, self.options().dtype(out_dtype));
  return addmm_wide_out(self, mat1, mat2, out_dtype, beta, alpha, out);
}

/// The sizes of the product of two batches.
std::vector<int64_t> check_batches(const at::Tensor& batch1, const at::Tensor& batch2, at::ScalarType out_dtype) {
  TORCH_CHECK(batch1.dim() == 3, "batch1 must be a 3D tensor");
  TORCH_CHECK(batch2.dim() == 3, "batch2 must be a 3D tensor");
  TORCH_CHECK(batch2.size(0) == batch1.size(0) && batch2.size(1) == batch1.size(2),
              "Expected size for first two dimensions of batch2 tensor to be: [", batch1.size(0), ", ", batch1.size(2),
              "] but got: [", batch2.size(0), ", ", batch2.size(1), "].");
  TORCH_CHECK(batch1.scalar_type() == batch2.scalar_type(), "batch1 and batch2 must have the same dtype");
  check_out_dtype(out_dtype, batch1.scalar_type());
  return {batch1.size(0), batch1.size(1), batch2.size(2)};
}

void check_sizes(const at::Tensor& out, at::IntArrayRef expected) {
  TORCH_CHECK(out.dim() == 3, "self must be a 3D tensor");
  TORCH_CHECK(out.size(0) == expected[0], "self dim 0 must match batch1 dim 0");
  TORCH_CHECK(out.size(1) == expected[1], "self dim 1 must match batch1 dim 1");
  TORCH_CHECK(out.size(2) == expected[2], "self dim 2 must match batch2 dim 2");
}

at::Tensor& bmm_wide_out(const at::Tensor& batch1, const at::Tensor& batch2, at::ScalarType out_dtype,
                         at::Tensor& out) {
  check_sizes(out, check_batches(batch1, batch2, out_dtype));
  return out.copy_(at::bmm(batch1.to(out_dtype), batch2.to(out_dtype)));
}

at::Tensor bmm_wide(const at::Tensor& batch1, const at::Tensor& batch2, at::ScalarType out_dtype) {
  check_batches(batch1, batch2, out_dtype);
  return at::bmm(batch1.to(out_dtype), batch2.to(out_dtype));
}

at::Tensor& baddbmm_wide_out(const at::Tensor& self, const at::Tensor& batch1, const at::Tensor& batch2,
                             at::ScalarType out_dtype, const at::Scalar& beta, const at::Scalar& alpha,
                             at::Tensor& out) {
  const auto sizes = check_batches(batch1, batch2, out_dtype);
  TORCH_CHECK(out.dim() == 3, "self must be a 3D tensor");
  TORCH_CHECK(out.sizes() == sizes, "self must have the same shape as the output");
  out.copy_(self);
  return out.copy_(at::baddbmm(out.to(out_dtype), batch1.to(out_dtype), batch2.to(out_dtype), beta, alpha));
}

at::Tensor baddbmm_wide(const at::Tensor& self, const at::Tensor& batch1, const at::Tensor& batch2,
                        at::ScalarType out_dtype, const at::Scalar& beta, const at::Scalar& alpha) {
  TORCH_CHECK(self.scalar_type() == out_dtype || self.scalar_type() == batch1.scalar_type(),
              "self dtype must match either out_dtype or batch1 dtype");
  at::Tensor out = at::empty({batch1.size(0), batch1.size(1), batch2.size(2)}, batch1.options().dtype(out_dtype));
  return baddbmm_wide_out(self, batch1, batch2, out_dtype, beta, alpha, out);
}

}  // namespace

void register_wide_products(forward::Registrar& registrar) {
  registrar.implement<at::_ops::mm_dtype>(TORCH_FN(mm_wide));
  registrar.implement<at::_ops::mm_dtype_out>(TORCH_FN(mm_wide_out));
  registrar.implement<at::_ops::addmm_dtype>(TORCH_FN(addmm_wide));
  registrar.implement<at::_ops::addmm_dtype_out>(TORCH_FN(addmm_wide_out));
  registrar.implement<at::_ops::bmm_dtype>(TORCH_FN(bmm_wide));
  registrar.implement<at::_ops::bmm_dtype_out>(TORCH_FN(bmm_wide_out));
  registrar.implement<at::_ops::baddbmm_dtype>(TORCH_FN(baddbmm_wide));
  registrar.implement<at::_ops::baddbmm_dtype_out>(TORCH_FN(baddbmm_wide_out));
}

}  // namespace torchdevice::aten
