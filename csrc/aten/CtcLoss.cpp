// aten/CtcLoss.cpp: at::ctc_loss asks, for CUDA tensors, whether cuDNN's or MIOpen's kernel should run: never here.

#include <ATen/core/Tensor.h>
#include <ATen/ops/_use_cudnn_ctc_loss_ops.h>
#include <ATen/ops/_use_miopen_ctc_loss_ops.h>

#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

bool no_vendor_kernel(const at::Tensor&, const at::Tensor&, at::IntArrayRef, at::IntArrayRef, int64_t) { return false; }

bool no_vendor_kernel_for_tensors(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, int64_t) {
  return false;
}

}  // namespace

void register_ctc_loss(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_use_cudnn_ctc_loss>(TORCH_FN(no_vendor_kernel));
  registrar.implement<at::_ops::_use_cudnn_ctc_loss_Tensor>(TORCH_FN(no_vendor_kernel_for_tensors));
  registrar.implement<at::_ops::_use_miopen_ctc_loss>(TORCH_FN(no_vendor_kernel));
  registrar.implement<at::_ops::_use_miopen_ctc_loss_Tensor>(TORCH_FN(no_vendor_kernel_for_tensors));
}

}  // namespace torchdevice::aten
