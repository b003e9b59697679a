// distributed/Collectives.h: torch.distributed's operators on CUDA tensors.

#pragma once

#include "forward/Registrar.h"

namespace torchdevice::distributed {

/// Boxed, as their C++ types are not public.
void register_collectives(forward::Registrar& registrar);

}  // namespace torchdevice::distributed
