// runtime/Parallel.cpp: loops in the threads of torch.

#include "runtime/Parallel.h"

#include <ATen/TensorIterator.h>
#include <ATen/ops/from_blob.h>

namespace torchdevice {

void parallel_for(int64_t count, int64_t grain, c10::function_ref<void(int64_t, int64_t)> work) {
  if (count <= grain) {
    return work(0, count);
  }
  // TensorIterator's loop runs inside of libtorch. The "tensor" is never read or written: its addresses are the
  // indices.
  static char origin;
  const at::Tensor indices = at::from_blob(&origin, {count}, at::kByte);
  auto iterator = at::TensorIterator::borrowing_nullary_op(indices);
  iterator.for_each(
      [&](char** data, const int64_t* /*strides*/, int64_t n) {
        const int64_t begin = data[0] - &origin;
        work(begin, begin + n);
      },
      grain);
}

}  // namespace torchdevice
