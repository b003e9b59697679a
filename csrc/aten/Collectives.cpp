// aten/Collectives.cpp: torch.distributed's operators, which a CPU build of torch sends to gloo with CUDA tensors as
// they are: gloo would dereference what it does not know. On aliases it runs without a copy.

#include <ATen/core/dispatch/Dispatcher.h>

#include "aten/Kernels.h"
#include "forward/Boxed.h"
#include "runtime/ReducerTimer.h"
#include "runtime/SilentWarnings.h"

namespace torchdevice::aten {

void register_collectives(forward::Registrar& registrar) {
  install_reducer_timer();
  const SilentWarnings silent;  // torch warns of every kernel that is replaced; here that is the purpose
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const c10::OperatorName& name : dispatcher.getAllOpNames()) {
    const auto op = dispatcher.findSchema(name);
    // An asynchronous collective keeps its aliases, which thereby come to own the memory that they point to.
    if (name.getNamespace() == "c10d" && op.has_value() && op->hasKernelForDispatchKey(c10::DispatchKey::CPU)) {
      registrar.implement_boxed(name, c10::DispatchKey::CUDA, forward::boxed_kernel<c10::DispatchKey::Dense>());
    }
  }
}

}  // namespace torchdevice::aten
