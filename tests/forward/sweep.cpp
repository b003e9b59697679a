// sweep.cpp: a library of operators as torchvision is: kernels for the CPU, and for CUDA, which stand for an NVIDIA
// GPU's by returning what no CPU kernel does.

#include <ATen/ops/full_like.h>
#include <ATen/ops/mul.h>
#include <torch/library.h>

namespace {

at::Tensor by_cpu(const at::Tensor& x) { return x.mul(2); }
at::Tensor by_gpu(const at::Tensor& x) { return at::full_like(x, -1); }

}  // namespace

TORCH_LIBRARY(swept, m) {
  m.def("double(Tensor x) -> Tensor");
  m.def("composed(Tensor x) -> Tensor");
  m.def("gpu_only(Tensor x) -> Tensor");
}
TORCH_LIBRARY_IMPL(swept, CPU, m) { m.impl("double", TORCH_FN(by_cpu)); }
TORCH_LIBRARY_IMPL(swept, CompositeImplicitAutograd, m) { m.impl("composed", TORCH_FN(by_cpu)); }
TORCH_LIBRARY_IMPL(swept, CUDA, m) {
  m.impl("double", TORCH_FN(by_gpu));
  m.impl("composed", TORCH_FN(by_gpu));
  m.impl("gpu_only", TORCH_FN(by_gpu));
}
