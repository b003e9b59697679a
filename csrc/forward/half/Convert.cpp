// forward/half/Convert.cpp: halves to float32 and back, rounded to the nearest, ties to even.

#include "forward/half/Convert.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ExpandUtils.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty_strided.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "allocator/CachingAllocator.h"
#include "allocator/HostMemory.h"
#include "forward/Masquerade.h"
#include "forward/TensorAccess.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace torchdevice::forward {
namespace {

template <class Half>
void widen_each(const Half* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<float>(from[i]);
  }
}
template <class Half>
void narrow_each(const float* from, Half* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<Half>(from[i]);
  }
}

#if defined(__x86_64__)
// torch's own loops for this are in its kernels, behind operators that cost a microsecond each.
constexpr int64_t kLanes = 8;

bool has_vectors() {
  static const bool has = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("f16c") != 0;
  return has;
}
[[gnu::target("avx2,f16c")]] int64_t widen_vectors(const c10::Half* from, float* to, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
  return i;
}
[[gnu::target("avx2,f16c")]] int64_t widen_vectors(const c10::BFloat16* from, float* to, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    _mm256_storeu_ps(to + i, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)));
  }
  return i;
}
[[gnu::target("avx2,f16c")]] int64_t narrow_vectors(const float* from, c10::Half* to, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
  }
  return i;
}
[[gnu::target("avx2,f16c")]] int64_t narrow_vectors(const float* from, c10::BFloat16* to, int64_t count) {
  const __m256i below_half = _mm256_set1_epi32(0x7FFF);
  const __m256i nan = _mm256_set1_epi32(0x7FC0);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const __m256 values = _mm256_loadu_ps(from + i);
    const __m256i bits = _mm256_castps_si256(values);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(below_half, odd)), 16);
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
    rounded = _mm256_blendv_epi8(rounded, nan, is_nan);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0b1000);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm256_castsi256_si128(packed));
  }
  return i;
}
#endif

template <class Half>
void widen_run(const Half* from, float* to, int64_t count) {
  int64_t done = 0;
#if defined(__x86_64__)
  done = has_vectors() ? widen_vectors(from, to, count) : 0;
#endif
  widen_each(from + done, to + done, count - done);
}
template <class Half>
void narrow_run(const float* from, Half* to, int64_t count) {
  int64_t done = 0;
#if defined(__x86_64__)
  done = has_vectors() ? narrow_vectors(from, to, count) : 0;
#endif
  narrow_each(from + done, to + done, count - done);
}

/// Below this many numbers a second thread costs more than it gains.
constexpr int64_t kGrain = 65'536;

template <class Half>
void widen_all(const void* from, float* to, int64_t count) {
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    widen_run(static_cast<const Half*>(from) + begin, to + begin, end - begin);
  });
}
template <class Half>
void narrow_all(const float* from, void* to, int64_t count) {
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    narrow_run(from + begin, static_cast<Half*>(to) + begin, end - begin);
  });
}

}  // namespace

void widen(at::ScalarType half, const void* from, float* to, int64_t count) {
  half == at::kHalf ? widen_all<c10::Half>(from, to, count) : widen_all<c10::BFloat16>(from, to, count);
}
void narrow(at::ScalarType half, const float* from, void* to, int64_t count) {
  half == at::kHalf ? narrow_all<c10::Half>(from, to, count) : narrow_all<c10::BFloat16>(from, to, count);
}

at::Tensor empty_on_host(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type, c10::Device device) {
  const HostMemory host_memory;
  at::Tensor tensor = at::detail::empty_strided_cpu(sizes, strides, type);
  c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  c10::StorageImpl& storage = *impl.unsafe_storage().unsafeGetStorageImpl();
  storage._mutable_data_ptr_no_checks().unsafe_set_device(device);
  storage.set_allocator(&caching_allocator());
  TensorAccess::keys(impl) = adopted_keys(impl.key_set(), host_masquerade);
  *TensorAccess::device(impl) = device;
  return tensor;
}

at::Tensor float32_copy(const at::Tensor& half) {
  if (half.is_non_overlapping_and_dense()) {
    at::Tensor wide = empty_on_host(half.sizes(), half.strides(), at::kFloat, half.device());
    widen(half.scalar_type(), half.const_data_ptr(), wide.mutable_data_ptr<float>(), half.numel());
    return wide;
  }
  at::Tensor once = half;
  bool repeats = false;
  for (int64_t i = 0; i < half.dim(); ++i) {
    if (half.stride(i) == 0 && half.size(i) > 1) {
      once = once.narrow(i, 0, 1);
      repeats = true;
    }
  }
  if (half.numel() == 0 || !repeats) {
    at::Tensor wide =
        empty_on_host(half.sizes(), at::infer_dense_strides(half.sizes(), half.strides()), at::kFloat, half.device());
    return wide.copy_(half);
  }
  return float32_copy(once).expand(half.sizes());
}

at::Tensor rounded_to(at::ScalarType half, const at::Tensor& wide) {
  if (!wide.is_non_overlapping_and_dense()) {
    return wide.to(half);
  }
  at::Tensor result = at::empty_strided(wide.sizes(), wide.strides(), wide.options().dtype(half));
  narrow(half, wide.const_data_ptr<float>(), result.mutable_data_ptr(), wide.numel());
  return result;
}

}  // namespace torchdevice::forward
