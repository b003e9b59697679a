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

at::Tensor wrong_question_cpu(const at::Tensor& self, int64_t) {
  TORCH_CHECK(false, "the CPU says: shapes [2] and [3] do not match");
}

at::Tensor failing_mps(const at::Tensor&, const std::string& text) {
  ++mps_simulator::refusals;
  TORCH_CHECK(false, text);
}

at::Tensor failing_cpu(const at::Tensor& self, const std::string&) { return self.clone(); }

/// Refuses sizes, not kinds; has written before.
at::Tensor& no_more_than_mps(at::Tensor& self, int64_t size) {
  self.add_(1);
  TORCH_CHECK(self.numel() <= size, "not supported for tensors of more than 2**", size, " elements");
  return self;
}

at::Tensor& no_more_than_cpu(at::Tensor& self, int64_t) { return self.add_(10); }

/// Both fail.
at::Tensor failing_twice_mps(const at::Tensor&, const std::string& text) { TORCH_CHECK(false, "MPS says: ", text); }
at::Tensor failing_twice_cpu(const at::Tensor&, const std::string& text) { TORCH_CHECK(false, text); }

TORCH_LIBRARY(mps_simulator, m) {
  m.def("half_applied_(Tensor(a!) self, bool refuse) -> Tensor(a!)");
  m.def("wrong_question(Tensor self, int kind) -> Tensor");
  m.def("failing(Tensor self, str text) -> Tensor");
  m.def("failing_twice(Tensor self, str text) -> Tensor");
  m.def("no_more_than_(Tensor(a!) self, int size) -> Tensor(a!)");
}
TORCH_LIBRARY_IMPL(mps_simulator, MPS, m) {
  m.impl("half_applied_", &half_applied_mps);
  m.impl("wrong_question", &wrong_question_mps);
  m.impl("failing", &failing_mps);
  m.impl("failing_twice", &failing_twice_mps);
  m.impl("no_more_than_", &no_more_than_mps);
}
TORCH_LIBRARY_IMPL(mps_simulator, CPU, m) {
  m.impl("half_applied_", &half_applied_cpu);
  m.impl("wrong_question", &wrong_question_cpu);
  m.impl("failing", &failing_cpu);
  m.impl("failing_twice", &failing_twice_cpu);
  m.impl("no_more_than_", &no_more_than_cpu);
}

}  // namespace
