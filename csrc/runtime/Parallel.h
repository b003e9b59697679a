// runtime/Parallel.h: loops in the threads of torch.

#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace torchdevice {

/// Call `work(begin, end)` for parts of [0, count) in torch's intra-op threads; in this one up to `grain`.
/// at::parallel_for is a template over OpenMP: instantiated here it would bring a second runtime with threads of its
/// own, which torch.set_num_threads() does not govern.
void parallel_for(int64_t count, int64_t grain, c10::function_ref<void(int64_t, int64_t)> work);

}  // namespace torchdevice
