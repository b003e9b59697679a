// aten/Dropout.cpp: the CPU kernel draws from the default CPU generator; run on CUDA tensors it draws from CUDA's.

#include <ATen/ops/native_dropout_native.h>
#include <ATen/ops/native_dropout_ops.h>

#include "aten/Kernels.h"

namespace torchdevice::aten {

void register_dropout(forward::Registrar& registrar) {
  // The CPU kernel is itself composed of operators, each of which is forwarded.
  registrar.implement<at::_ops::native_dropout>(TORCH_FN(at::native::native_dropout_cpu));
}

}  // namespace torchdevice::aten
