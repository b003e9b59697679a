// aten/Kernels.h: the operators that get a kernel of their own, a file for each family.

#pragma once

#include "forward/Registrar.h"

namespace torchdevice::aten {

void register_factories(forward::Registrar& registrar);
void register_views(forward::Registrar& registrar);
void register_storage(forward::Registrar& registrar);
void register_dropout(forward::Registrar& registrar);
void register_attention(forward::Registrar& registrar);
void register_rnn(forward::Registrar& registrar);
void register_lstm(forward::Registrar& registrar);
void register_softmax(forward::Registrar& registrar);
void register_ctc_loss(forward::Registrar& registrar);
void register_distributions(forward::Registrar& registrar);
void register_copy(forward::Registrar& registrar);
void register_wide_products(forward::Registrar& registrar);
void register_int4_products(forward::Registrar& registrar);
void register_compressed_products(forward::Registrar& registrar);
void register_sync_batch_norm(forward::Registrar& registrar);
void register_cudnn(forward::Registrar& registrar);
void register_semi_structured(forward::Registrar& registrar);
void register_packed_attention(forward::Registrar& registrar);
void register_nested_projections(forward::Registrar& registrar);
void register_layouts(forward::Registrar& registrar);
void register_native_distributions(forward::Registrar& registrar);
void register_mps_copies(forward::Registrar& registrar);

}  // namespace torchdevice::aten
