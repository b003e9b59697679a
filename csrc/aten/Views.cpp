// aten/Views.cpp: views only write metadata, so at::native's kernels work on the CUDA tensor as it is.

#include <ATen/ops/_nested_view_from_buffer_native.h>
#include <ATen/ops/_nested_view_from_buffer_ops.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/_reshape_alias_ops.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/as_strided_ops.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/unfold_ops.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_complex_ops.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_as_real_ops.h>
#include <ATen/ops/view_native.h>
#include <ATen/ops/view_ops.h>

#include "forward/Registrar.h"

namespace torchdevice::aten {

void register_views(forward::Registrar& registrar) {
  registrar.implement<at::_ops::as_strided>(TORCH_FN(at::native::as_strided_tensorimpl));
  registrar.implement<at::_ops::_nested_view_from_buffer>(TORCH_FN(at::native::_nested_view_from_buffer));
  registrar.implement<at::_ops::_reshape_alias>(TORCH_FN(at::native::_reshape_alias));
  registrar.implement<at::_ops::unfold>(TORCH_FN(at::native::unfold));
  registrar.implement<at::_ops::view>(TORCH_FN(at::native::view));
  registrar.implement<at::_ops::view_as_complex>(TORCH_FN(at::native::view_as_complex));
  registrar.implement<at::_ops::view_as_real>(TORCH_FN(at::native::view_as_real));
}

}  // namespace torchdevice::aten
