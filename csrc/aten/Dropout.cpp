// aten/Dropout.cpp: dropout with CUDA's random numbers. Source: torch's ATen/native/cuda/Dropout.cu.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_dropout_ops.h>
#include <ATen/ops/_masked_scale_ops.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_dropout_native.h>
#include <ATen/ops/native_dropout_ops.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>

#include "allocator/BorrowedMemory.h"
#include "aten/PhiloxDraws.h"
#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

using Dropped = std::tuple<at::Tensor, at::Tensor>;

at::Tensor masked_scale(const at::Tensor& self, const at::Tensor& mask, double scale) {
  TORCH_CHECK(mask.scalar_type() == at::kByte, "mask should be torch.uint8 dtype");
  return self * mask * scale;
}

/// How many neighbours a thread of CUDA's kernel loads at once, which decides whose random numbers they get.
int neighbours(const at::Tensor& self) {
  if (!self.is_non_overlapping_and_dense()) {
    return 1;
  }
  const auto address = reinterpret_cast<uintptr_t>(self.const_data_ptr());
  for (int n : {4, 2}) {
    if (address % (n * self.element_size()) == 0 && self.numel() % n == 0) {
      return n;
    }
  }
  return 1;
}

/// What the kernel does to the element at one place.
template <class Scalar, class Mask>
struct Drop {
  using Wide = at::opmath_type<Scalar>;

  void operator()(int64_t place, float number) const {
    const bool stays = number < keep;
    result[place] = static_cast<Scalar>(static_cast<Wide>(source[place]) * static_cast<Wide>(stays) * scale);
    mask[place] = static_cast<Mask>(stays);
  }

  const Scalar* source;
  Scalar* result;
  Mask* mask;
  Wide keep;
  Wide scale = 1 / keep;
};

/// All three tensors lie in memory in the same way.
template <class Scalar, class Mask>
void drop_elements(const at::Tensor& self, at::Tensor& result, at::Tensor& mask, double keep, int together,
                   const Deal& deal, const Philox& philox) {
  const Drop<Scalar, Mask> drop{self.const_data_ptr<Scalar>(), result.mutable_data_ptr<Scalar>(),
                                mask.mutable_data_ptr<Mask>(), static_cast<at::opmath_type<Scalar>>(keep)};
  if (together == 1) {
    deal_numbers<Uniform4>(deal, philox, drop);
    return;
  }
  parallel_for(deal.numel / together, kDrawsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t draw = begin; draw < end; ++draw) {
      const Words words = philox(draw % deal.threads, draw / deal.threads);
      for (int i = 0; i < together; ++i) {
        drop(draw * together + i, Uniform4::number(words[i]));
      }
    }
  });
}

template <class Mask>
Dropped dropout(const at::Tensor& self, double keep, CudaGenerator& generator) {
  at::Tensor mask = at::empty_like(self, self.options().dtype(c10::CppTypeToScalarType<Mask>::value));
  if (self.numel() == 0) {
    return {self.clone(), mask};
  }
  at::Tensor result = at::empty_like(self);
  const Deal deal(self.numel(), Uniform4::kNumbers);
  const auto [seed, offset] = generator.reserve(deal.increment());
  const Philox philox(seed, offset);
  // Else CUDA's kernel counts the elements by their indices, not as they lie in memory.
  const int together = neighbours(self);
  const bool by_memory = self.is_contiguous() || together > 1;
  const at::Tensor source = by_memory ? self : self.contiguous();
  check_borrowed(source);
  at::Tensor kept = by_memory ? result : at::empty_like(source);
  at::Tensor marked = by_memory ? mask : at::empty_like(source, mask.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, self.scalar_type(), "fused_dropout", [&] {
    drop_elements<scalar_t, Mask>(source, kept, marked, keep, together, deal, philox);
  });
  if (!by_memory) {
    result.copy_(kept);
    mask.copy_(marked);
  }
  return {std::move(result), std::move(mask)};
}

Dropped native_dropout(const at::Tensor& self, double p, std::optional<bool> train) {
  if (train.has_value() && !*train) {
    return {self.clone(), at::ones_like(self, self.options().dtype(at::kBool))};
  }
  if (p == 1) {
    return {at::zeros_like(self), at::zeros_like(self, self.options().dtype(at::kBool))};
  }
  if (self.is_complex()) {
    return at::native::native_dropout_cpu(self, p, train);  // CUDA has none; this one is composed of operators
  }
  return dropout<bool>(self, 1 - p, cuda_generator(std::nullopt, self.device()));
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): the operator takes it by value
Dropped fused_dropout(const at::Tensor& self, double keep, std::optional<at::Generator> generator) {
  return dropout<uint8_t>(self, keep, cuda_generator(generator, self.device()));
}

}  // namespace

void register_dropout(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_masked_scale>(TORCH_FN(masked_scale));
  if (forward::has_fallback()) {
    return;  // aten/NativeDistributions.cpp
  }
  registrar.implement<at::_ops::native_dropout>(TORCH_FN(native_dropout));
  registrar.implement<at::_ops::_fused_dropout>(TORCH_FN(fused_dropout));
}

}  // namespace torchdevice::aten
