// distributed/ReducerTimer.h: device time for DistributedDataParallel's reducer.

#pragma once

namespace torchdevice {

/// Register the timer of CUDA modules, which DistributedDataParallel requires from its second iteration on.
void install_reducer_timer();

}  // namespace torchdevice
