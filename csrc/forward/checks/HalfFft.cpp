// forward/checks/HalfFft.cpp: Fourier transforms of halves, which cuFFT has for powers of two only.

#include "forward/checks/HalfFft.h"

#include <algorithm>
#include <bit>

#include "forward/checks/Strictness.h"

namespace torchdevice::forward {

void check_half_fft(const at::Tensor& self, at::IntArrayRef dims, int64_t last) {
  const at::ScalarType type = self.scalar_type();
  if ((type != at::kHalf && type != at::kComplexHalf) || self.numel() == 0 || !is_strict()) {
    return;
  }
  at::DimVector sizes;
  for (const int64_t dim : dims) {
    sizes.push_back(self.size(dim));
  }
  if (last >= 0 && !sizes.empty()) {
    sizes.back() = last;
  }
  const bool fits = std::all_of(sizes.begin(), sizes.end(),
                                [](int64_t size) { return std::has_single_bit(static_cast<uint64_t>(size)); });
  TORCH_CHECK(
      fits,
      "cuFFT only supports dimensions whose sizes are powers of two when computing in half precision, but got a "
      "signal size of",
      at::IntArrayRef(sizes));
}

}  // namespace torchdevice::forward
