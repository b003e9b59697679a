// aten/Kernels.cpp: the operators that get a kernel of their own, a file for each family.

#include "aten/Kernels.h"

namespace torchdevice::forward {

void register_handwritten_kernels(Registrar& registrar) {
  aten::register_factories(registrar);
  aten::register_views(registrar);
  aten::register_storage(registrar);
  aten::register_dropout(registrar);
  aten::register_attention(registrar);
  aten::register_rnn(registrar);
  aten::register_lstm(registrar);
  aten::register_softmax(registrar);
  aten::register_ctc_loss(registrar);
  aten::register_distributions(registrar);
  aten::register_copy(registrar);
  aten::register_wide_products(registrar);
  aten::register_int4_products(registrar);
  aten::register_compressed_products(registrar);
  aten::register_semi_structured(registrar);
  aten::register_cudnn(registrar);
  aten::register_packed_attention(registrar);
  aten::register_sync_batch_norm(registrar);
  aten::register_nested_projections(registrar);
  aten::register_layouts(registrar);
  aten::register_native_distributions(registrar);
  aten::register_mps_copies(registrar);
}

}  // namespace torchdevice::forward
