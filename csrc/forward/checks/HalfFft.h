// forward/checks/HalfFft.h: Fourier transforms of halves, which cuFFT has for powers of two only.

#pragma once

#include <ATen/core/Tensor.h>

#include "forward/checks/Checked.h"

namespace torchdevice::forward {

/// Throws cuFFT's error for halves where a dimension of `dims` is no power of two; the last one has `last` elements if
/// that is not negative.
void check_half_fft(const at::Tensor& self, at::IntArrayRef dims, int64_t last);

struct HalfFft {
  template <class... Out>
  static void before(const at::Tensor& self, at::IntArrayRef dims, int64_t /*normalization*/, bool /*forward*/,
                     const Out&... /*out*/) {
    check_half_fft(self, dims, -1);
  }
  template <class... Out>
  static void before(const at::Tensor& self, c10::SymIntArrayRef dims, int64_t /*normalization*/, bool /*forward*/,
                     const Out&... /*out*/) {
    check_half_fft(self, C10_AS_INTARRAYREF_SLOW(dims), -1);
  }
  /// To real numbers: the size of the result counts.
  template <class... Out>
  static void before(const at::Tensor& self, at::IntArrayRef dims, int64_t /*normalization*/, const c10::SymInt& last,
                     const Out&... /*out*/) {
    check_half_fft(self, dims, last.expect_int());
  }
};

}  // namespace torchdevice::forward
