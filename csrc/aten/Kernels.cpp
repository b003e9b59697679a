// aten/Kernels.cpp: the operators that get a kernel of their own, a file for each family.

#include "forward/Registrar.h"
#include "forward/fallback/Composed.h"

namespace torchdevice::aten {

// Each is at the end of its file.
void register_factories(forward::Registrar& registrar);
void register_views(forward::Registrar& registrar);
void register_storage(forward::Registrar& registrar);
void register_dropout(forward::Registrar& registrar);
void register_attention(forward::Registrar& registrar);
void register_rnn(forward::Registrar& registrar);
void register_half_rnn(forward::Registrar& registrar);
void register_softmax(forward::Registrar& registrar);
void register_ctc_loss(forward::Registrar& registrar);
void register_distributions(forward::Registrar& registrar);
void register_copy(forward::Registrar& registrar);
void register_wide_products(forward::Registrar& registrar);
void register_lu_factors(forward::Registrar& registrar);
void register_nan_sum(forward::Registrar& registrar);
void register_int4_products(forward::Registrar& registrar);
void register_compressed_products(forward::Registrar& registrar);
void register_sync_batch_norm(forward::Registrar& registrar);
void register_cudnn(forward::Registrar& registrar);
void register_semi_structured(forward::Registrar& registrar);
void register_packed_attention(forward::Registrar& registrar);
void register_nested_projections(forward::Registrar& registrar);
void register_layouts(forward::Registrar& registrar);
void register_native_distributions(forward::Registrar& registrar);
void register_native_copies(forward::Registrar& registrar);
void register_composed_attention(forward::Registrar& registrar);
void register_composed_quantization(forward::Registrar& registrar);

}  // namespace torchdevice::aten

namespace torchdevice::forward {

void register_composed_kernels(Registrar& registrar) {
  aten::register_composed_attention(registrar);
  aten::register_composed_quantization(registrar);
}

void register_handwritten_kernels(Registrar& registrar) {
  aten::register_factories(registrar);
  aten::register_views(registrar);
  aten::register_storage(registrar);
  aten::register_dropout(registrar);
  aten::register_attention(registrar);
  aten::register_rnn(registrar);
  aten::register_half_rnn(registrar);
  aten::register_softmax(registrar);
  aten::register_ctc_loss(registrar);
  aten::register_distributions(registrar);
  aten::register_copy(registrar);
  aten::register_wide_products(registrar);
  aten::register_lu_factors(registrar);
  aten::register_nan_sum(registrar);
  aten::register_int4_products(registrar);
  aten::register_compressed_products(registrar);
  aten::register_semi_structured(registrar);
  aten::register_cudnn(registrar);
  aten::register_packed_attention(registrar);
  aten::register_sync_batch_norm(registrar);
  aten::register_nested_projections(registrar);
  aten::register_layouts(registrar);
  aten::register_native_distributions(registrar);
  aten::register_native_copies(registrar);
}

}  // namespace torchdevice::forward
