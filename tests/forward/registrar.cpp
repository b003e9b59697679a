// tests/forward/registrar.cpp: the Registrar compiled for itself, to test what it refuses without a torchdevice that
// registers something twice.

#include "forward/Registrar.cpp"  // NOLINT(bugprone-suspicious-include): nothing else is needed of the extension

#include <torch/library.h>

#include <string>

/// The rule of halves, the backend's remedies and what is composed are elsewhere.
c10::KernelFunction torchdevice::forward::with_half_rule(const char*, const char*, c10::KernelFunction kernel) {
  return kernel;
}
c10::KernelFunction torchdevice::forward::with_remedies(const c10::OperatorName&, c10::KernelFunction kernel) {
  return kernel;
}
bool torchdevice::forward::is_composed(const c10::OperatorName&) { return false; }

namespace {

void kernel(const c10::OperatorHandle& /*op*/, torch::jit::Stack* /*stack*/) {}

}  // namespace

TORCH_LIBRARY(registrar, m) {
  m.def("one(Tensor x) -> Tensor");
  m.def("one.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)");
}

/// The error without its backtrace; empty if there was none.
extern "C" const char* register_kernel(const char* overload, bool sparse) {
  static std::string error;
  error.clear();
  try {
    torchdevice::forward::Registrar().add({"registrar::one", overload},
                                          sparse ? c10::DispatchKey::SparseCUDA : c10::DispatchKey::CUDA,
                                          c10::KernelFunction::makeFromBoxedFunction<&kernel>());
  } catch (const c10::Error& caught) {
    error = caught.what_without_backtrace();
  }
  return error.c_str();
}
