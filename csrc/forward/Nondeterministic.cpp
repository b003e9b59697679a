// forward/Nondeterministic.cpp: operators that torch.use_deterministic_algorithms refuses on CUDA.

#include "forward/Nondeterministic.h"

#include <c10/util/env.h>

namespace torchdevice::forward {

void alert_cublas() {
  // As torch does, once: cuBLAS reads the variable when its first handle is made.
  static const bool deterministic = [] {
    const auto config = c10::utils::get_env("CUBLAS_WORKSPACE_CONFIG");
    return config == ":4096:8" || config == ":16:8";
  }();
  if (deterministic) {
    return;
  }
  static constexpr const char* kMessage =
      "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or "
      "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic because it uses CuBLAS "
      "and you have CUDA >= 10.2. To enable deterministic behavior in this case, you must set an environment variable "
      "before running your PyTorch application: CUBLAS_WORKSPACE_CONFIG=:4096:8 or CUBLAS_WORKSPACE_CONFIG=:16:8. For "
      "more information, go to https://docs.nvidia.com/cuda/cublas/index.html#results-reproducibility";
  TORCH_CHECK(at::globalContext().deterministicAlgorithmsWarnOnly(), kMessage);
  TORCH_WARN(kMessage);
}

}  // namespace torchdevice::forward
