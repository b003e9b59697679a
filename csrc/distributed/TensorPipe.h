// distributed/TensorPipe.h: torch.distributed.rpc with CUDA tensors and device maps.

#pragma once

namespace torchdevice {

/// Makes TensorPipe, which carries the messages of torch.distributed.rpc, send and receive memory of CUDA devices.
/// torch has no way to take that back.
void register_tensorpipe();

}  // namespace torchdevice
