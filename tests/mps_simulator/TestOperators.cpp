// TestOperators.cpp: operators whose MPS kernels refuse or fail in ways that torch's own seldom do.

#include <ATen/ops/add.h>
#include <torch/library.h>

#include <string>

#include "Simulator.h"

namespace {

/// Has written before it refuses.
at::Tensor& half_applied_mps(at::Tensor& self, bool refuse) {
  self.add_(1);
  mps_simulator::refusals += refuse;
  TORCH_CHECK(!refuse, "MPS does not support half_applied_ op with refuse");
  return self;
}

at::Tensor& half_applied_cpu(at::Tensor& self, bool) { return self.add_(10); }

at::Tensor wrong_question_mps(const at::Tensor&, int64_t kind) {
  TORCH_CHECK_INDEX(kind != 1, "index 7 is not supported by MPS tensors of size 3");
  TORCH_CHECK_VALUE(kind != 2, "MPS: a negative value is not supported");
  TORCH_CHECK(false, "shapes [2] and [3] do not match");
}

at::Tensor wrong_question_cpu(const at::Tensor& self, int64_t) { return self.clone(); }

at::Tensor failing_mps(const at::Tensor&, const std::string& text) { TORCH_CHECK(false, text); }

at::Tensor failing_cpu(const at::Tensor& self, const std::string&) { return self.clone(); }

TORCH_LIBRARY(mps_simulator, m) {
  m.def("half_applied_(Tensor(a!) self, bool refuse) -> Tensor(a!)");
  m.def("wrong_question(Tensor self, int kind) -> Tensor");
  m.def("failing(Tensor self, str text) -> Tensor");
}
TORCH_LIBRARY_IMPL(mps_simulator, MPS, m) {
  m.impl("half_applied_", &half_applied_mps);
  m.impl("wrong_question", &wrong_question_mps);
  m.impl("failing", &failing_mps);
}
TORCH_LIBRARY_IMPL(mps_simulator, CPU, m) {
  m.impl("half_applied_", &half_applied_cpu);
  m.impl("wrong_question", &wrong_question_cpu);
  m.impl("failing", &failing_cpu);
}

}  // namespace
