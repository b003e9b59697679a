// aten/SemiStructured.h: what the two files about 2:4 sparse matrices share.

#pragma once

#include "forward/Registrar.h"

namespace torchdevice::aten {

/// Where CUTLASS keeps the metadata of (row, column), for metadata in integers of this many bytes.
at::Tensor cutlass_places(int64_t rows, int64_t columns, int64_t bytes, const at::TensorOptions& options);

/// SemiStructuredPruning.cpp.
void register_semi_structured_pruning(forward::Registrar& registrar);

}  // namespace torchdevice::aten
