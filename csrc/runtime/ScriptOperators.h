// runtime/ScriptOperators.h: what torch.cuda's functions on devices become in TorchScript.

#pragma once

namespace torchdevice {

/// Registers them; a CUDA build's libtorch_cuda brings them along.
void register_script_operators();

}  // namespace torchdevice
