// hooks/ScriptStreams.h: torch.cuda.Stream and torch.cuda.Event in TorchScript.

#pragma once

#include <torch/library.h>

namespace torchdevice {

/// Registers both classes and the functions on streams with the library "cuda".
void register_script_streams(torch::Library& library);

}  // namespace torchdevice
