// tests/forward/cpu_operator.cpp: a library that knows the CPU only, as many do.

#include <ATen/core/Tensor.h>
#include <torch/library.h>

namespace {

at::Tensor twice(const at::Tensor& x) { return x.add(x); }

at::Tensor& increment_(at::Tensor& x) { return x.add_(1); }

std::vector<at::Tensor> reversed(const std::vector<at::Tensor>& tensors) { return {tensors.rbegin(), tensors.rend()}; }

at::Tensor fails_half_way(const at::Tensor& x) {
  at::Tensor partial = x.add(1);
  TORCH_CHECK_VALUE(false, "half-way: ", partial.numel());
  return partial;
}

}  // namespace

TORCH_LIBRARY(cpu_operator, m) {
  m.def("twice(Tensor x) -> Tensor");
  m.def("increment_(Tensor(a!) x) -> Tensor(a!)");
  m.def("reversed(Tensor[] tensors) -> Tensor[]");
  m.def("fails_half_way(Tensor x) -> Tensor");
  m.def("homeless(Tensor x) -> Tensor");
}

TORCH_LIBRARY_IMPL(cpu_operator, CPU, m) {
  m.impl("twice", &twice);
  m.impl("increment_", &increment_);
  m.impl("reversed", &reversed);
  m.impl("fails_half_way", &fails_half_way);
}
