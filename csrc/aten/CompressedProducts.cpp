// aten/CompressedProducts.cpp: what only CUDA does with compressed sparse matrices: products of batches, linear
// systems, triangular systems of blocks.

#include <ATen/SparseCsrTensorUtils.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_sparse_compressed_tensor_unsafe.h>
#include <ATen/ops/_spsolve_ops.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/baddbmm_ops.h>
#include <ATen/ops/bmm_ops.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/triangular_solve_ops.h>

#include "forward/Boxed.h"
#include "forward/Registrar.h"
#include "runtime/SilentWarnings.h"

namespace torchdevice::aten {
namespace {

/// One matrix of a batch. CUDA also takes a single matrix with the shape of a batch: that matrix, again and again.
at::Tensor matrix_of(const at::Tensor& batch, int64_t i) {
  const SilentWarnings silent;  // that the layout is in beta, torch has said when the batch was made
  const auto part = [&](const at::Tensor& member, bool batched) { return batched ? member.select(0, i) : member; };
  const auto [compressed, plain] = at::sparse_csr::getCompressedPlainIndices(batch);
  const bool batched = compressed.dim() > 1;
  return at::_sparse_compressed_tensor_unsafe(part(compressed, batched), part(plain, batched),
                                              part(batch.values(), batched), batch.sizes().slice(1),
                                              batch.values().options().layout(batch.layout()));
}

at::Tensor& bmm_out(const at::Tensor& batch, const at::Tensor& dense, at::Tensor& out) {
  for (int64_t i = 0; i < out.size(0); ++i) {
    out.select(0, i).copy_(at::mm(matrix_of(batch, i), dense.select(0, i)));
  }
  return out;
}

at::Tensor& baddbmm_out(const at::Tensor& self, const at::Tensor& batch, const at::Tensor& dense,
                        const at::Scalar& beta, const at::Scalar& alpha, at::Tensor& out) {
  if (!out.is_same(self)) {
    at::native::resize_output(out, self.sizes());
  }
  for (int64_t i = 0; i < out.size(0); ++i) {
    out.select(0, i).copy_(at::addmm(self.select(0, i), matrix_of(batch, i), dense.select(0, i), beta, alpha));
  }
  return out;
}

at::Tensor solve(const at::Tensor& matrix, const at::Tensor& right, bool left) {
  TORCH_CHECK(matrix.is_sparse_csr(), "A must be a CSR matrix");
  TORCH_CHECK(right.layout() == at::kStrided, "b must be a strided tensor");
  TORCH_CHECK(right.dim() == 1, "b must be a 1D tensor");
  TORCH_CHECK(right.size(0) == matrix.size(0), "linear system size mismatch.");
  TORCH_CHECK(matrix.dtype() == right.dtype(), "A, x, and b must have the same dtype");
  TORCH_CHECK(left, "only left == true is supported by the Sparse CSR backend");
  return at::linalg_solve(matrix.to_dense(), right);
}

/// The native kernel knows CSR alone, CUDA's BSR too.
void triangular_solve(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  c10::IValue& matrix = torch::jit::peek(*stack, 1, op.schema().arguments().size());
  if (matrix.toTensor().layout() == at::kSparseBsr) {
    matrix = matrix.toTensor().to_dense().to_sparse_csr();
  }
  forward::boxed_kernel<c10::DispatchKey::SparseCsr>().callBoxed(op, keys, stack);
}

template <class Op, class Function>
void implement(forward::Registrar& registrar, Function function) {
  registrar.add({Op::name, Op::overload_name}, c10::DispatchKey::SparseCsrCUDA,
                c10::KernelFunction::makeFromUnboxedFunction(function));
}

}  // namespace

void register_compressed_products(forward::Registrar& registrar) {
  implement<at::_ops::bmm_out>(registrar, TORCH_FN(bmm_out));
  implement<at::_ops::baddbmm_out>(registrar, TORCH_FN(baddbmm_out));
  implement<at::_ops::_spsolve>(registrar, TORCH_FN(solve));
  registrar.add({at::_ops::triangular_solve_X::name, at::_ops::triangular_solve_X::overload_name},
                c10::DispatchKey::SparseCsrCUDA, c10::KernelFunction::makeFromBoxedFunction<&triangular_solve>());
}

}  // namespace torchdevice::aten
