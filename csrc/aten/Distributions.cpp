// aten/Distributions.cpp: random numbers from CUDA's own streams, so that a seed gives the numbers it gives on a GPU:
// the same bits for uniform numbers, integers and Bernoulli trials, the same up to the last places where CUDA
// approximates a logarithm or a sine. Sources: as for PhiloxDraws.h.

#include <ATen/Dispatch.h>
#include <ATen/Dispatch_v2.h>
#include <ATen/OpMathType.h>
#include <ATen/core/DistributionsHelper.h>
#include <ATen/native/DistributionTemplates.h>
#include <ATen/ops/bernoulli_ops.h>
#include <ATen/ops/cauchy_ops.h>
#include <ATen/ops/exponential_ops.h>
#include <ATen/ops/geometric_ops.h>
#include <ATen/ops/log_normal_ops.h>
#include <ATen/ops/normal_ops.h>
#include <ATen/ops/random_ops.h>
#include <ATen/ops/uniform_ops.h>

#include "allocator/BorrowedMemory.h"
#include "aten/PhiloxDraws.h"
#include "forward/DeviceAssertion.h"
#include "forward/Registrar.h"

namespace torchdevice::aten {
namespace {

namespace templates = at::native::templates;
using MaybeGenerator = std::optional<at::Generator>;

template <class Scalar, class Transform>
void fill_uniform(at::TensorIteratorBase& iterator, const MaybeGenerator& generator, const Transform& transform) {
  using Draw = std::conditional_t<std::is_same_v<Scalar, double>, Uniform2, Uniform4>;
  fill<Scalar, Draw>(iterator, cuda_generator(generator, iterator.device(0)), transform);
}

template <class Scalar, class Transform>
void fill_normal(at::TensorIteratorBase& iterator, const MaybeGenerator& generator, const Transform& transform) {
  using Draw = std::conditional_t<std::is_same_v<Scalar, double>, Normal2, Normal4>;
  fill<Scalar, Draw>(iterator, cuda_generator(generator, iterator.device(0)), transform);
}

// The kernels that torch's templates ask for, which check the arguments before.

template <class>
struct Uniform {
  void operator()(at::TensorIteratorBase& iterator, double from, double to, const MaybeGenerator& generator) {
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, iterator.dtype(), "uniform_kernel_cuda", [&] {
      using Wide = at::opmath_type<scalar_t>;
      const auto low = static_cast<scalar_t>(from);
      const auto high = static_cast<scalar_t>(to);
      const auto range = static_cast<Wide>(high - low);
      fill_uniform<scalar_t>(iterator, generator, [=](Wide number) {
        // (0, 1] becomes [from, to): what would be `to` is `from`.
        const auto value = static_cast<scalar_t>(number * range + low);
        return value == high ? low : value;
      });
    });
  }
};

template <class>
struct Normal {
  void operator()(const at::TensorBase& self, double mean, double std, const MaybeGenerator& generator) {
    auto iterator = at::TensorIterator::borrowing_nullary_op(self);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, iterator.dtype(), "normal_kernel_cuda", [&] {
      using Wide = at::opmath_type<scalar_t>;
      fill_normal<scalar_t>(iterator, generator,
                            [mean = static_cast<Wide>(mean), std = static_cast<Wide>(std)](Wide number) {
                              return static_cast<scalar_t>(at::transformation::normal<Wide>(number, mean, std));
                            });
    });
  }
};

template <class>
struct LogNormal {
  void operator()(at::TensorIteratorBase& iterator, double mean, double std, const MaybeGenerator& generator) {
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, iterator.dtype(), "log_normal_cuda", [&] {
      using Wide = at::opmath_type<scalar_t>;
      fill_normal<scalar_t>(iterator, generator,
                            [mean = static_cast<Wide>(mean), std = static_cast<Wide>(std)](Wide number) {
                              return static_cast<scalar_t>(std::exp(number * std + mean));
                            });
    });
  }
};

template <class>
struct Geometric {
  void operator()(at::TensorIteratorBase& iterator, double p, const MaybeGenerator& generator) {
    AT_DISPATCH_ALL_TYPES_AND2(at::kHalf, at::kBFloat16, iterator.dtype(), "geometric_cuda", [&] {
      using Wide = at::DiscreteDistributionType<scalar_t>::type;
      fill_uniform<scalar_t>(iterator, generator, [p = static_cast<Wide>(p)](Wide number) {
        return static_cast<scalar_t>(at::transformation::geometric<Wide>(number, p));
      });
    });
  }
};

template <class>
struct Exponential {
  void operator()(at::TensorIteratorBase& iterator, double lambda, const MaybeGenerator& generator) {
    TORCH_CHECK(at::isFloatingType(iterator.dtype()),
                "Exponential distribution is a continuous probability distribution. dtype must be a floating point but "
                "you specified ",
                iterator.dtype());
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, iterator.dtype(), "exponential_cuda", [&] {
      using Wide = at::opmath_type<scalar_t>;
      fill_uniform<scalar_t>(iterator, generator, [lambda = static_cast<Wide>(lambda)](Wide number) {
        // Never 0, which programs divide by, not even in half precision.
        constexpr Wide kEpsilon = std::numeric_limits<Wide>::epsilon();
        const Wide logarithm = number >= 1 - kEpsilon / 2 ? -kEpsilon / 2 : std::log(number);
        return static_cast<scalar_t>(-1 / lambda * logarithm);
      });
    });
  }
};

template <class>
struct Cauchy {
  void operator()(at::TensorIteratorBase& iterator, double median, double sigma, const MaybeGenerator& generator) {
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, iterator.dtype(), "cauchy_cuda", [&] {
      using Wide = at::opmath_type<scalar_t>;
      fill_uniform<scalar_t>(iterator, generator,
                             [median = static_cast<Wide>(median), sigma = static_cast<Wide>(sigma)](Wide number) {
                               return static_cast<scalar_t>(at::transformation::cauchy<Wide>(number, median, sigma));
                             });
    });
  }
};

template <class>
struct RandomBits {
  void operator()(at::TensorIteratorBase& iterator, const MaybeGenerator& generator) {
    auto& chosen = cuda_generator(generator, iterator.device(0));
    AT_DISPATCH_ALL_TYPES_AND3(at::kHalf, at::kBFloat16, at::kBool, iterator.dtype(), "random_kernel_cuda", [&] {
      using Draw =
          std::conditional_t<std::is_same_v<scalar_t, double> || std::is_same_v<scalar_t, int64_t>, Words64, Words32>;
      fill<scalar_t, Draw>(iterator, chosen,
                           [](typename Draw::Number word) { return at::transformation::uniform_int<scalar_t>(word); });
    });
  }
};

template <class>
struct RandomFromTo {
  void operator()(at::TensorIteratorBase& iterator, uint64_t range, int64_t base, const MaybeGenerator& generator) {
    constexpr uint64_t kWideRange = uint64_t{1} << 28U;  // from here on the remainder of 32 bits is too uneven
    auto& chosen = cuda_generator(generator, iterator.device(0));
    AT_DISPATCH_V2(iterator.dtype(), "random_from_to_kernel_cuda", AT_WRAP([&] {
                     const auto transform = [range, base](auto word) {
                       return at::transformation::uniform_int_from_to<scalar_t>(word, range, base);
                     };
                     if (range >= kWideRange) {
                       fill<scalar_t, Words64>(iterator, chosen, transform);
                     } else {
                       fill<scalar_t, Words32>(iterator, chosen, transform);
                     }
                   }),
                   AT_EXPAND(AT_ALL_TYPES), at::kBool, at::kHalf, at::kBFloat16,
                   AT_EXPAND(AT_BAREBONES_UNSIGNED_TYPES));
  }
  /// Every int64: from its least value up, without an end.
  void operator()(at::TensorIteratorBase& iterator, const MaybeGenerator& generator) {
    auto& chosen = cuda_generator(generator, iterator.device(0));
    AT_DISPATCH_ALL_TYPES_AND(at::kBFloat16, iterator.dtype(), "random_full_64_bits_range_kernel_cuda", [&] {
      if constexpr (std::is_same_v<scalar_t, int64_t> || std::is_same_v<scalar_t, double> ||
                    std::is_same_v<scalar_t, float> || std::is_same_v<scalar_t, at::BFloat16>) {
        fill<scalar_t, Words64>(
            iterator, chosen, [](uint64_t word) { return at::transformation::uniform_int_full_range<scalar_t>(word); });
      } else {
        TORCH_CHECK(false, "random_full_64_bits_range_kernel_cuda handles only int64, double, float and bfloat16");
      }
    });
  }
};

template <class>
struct Bernoulli {
  void operator()(const at::TensorBase& self, double p, const MaybeGenerator& generator) {
    auto iterator = at::TensorIterator::borrowing_nullary_op(self);
    AT_DISPATCH_ALL_TYPES_AND3(at::kHalf, at::kBFloat16, at::kBool, iterator.dtype(), "bernoulli_scalar_cuda_", [&] {
      using Wide = at::DiscreteDistributionType<scalar_t>::type;
      fill_uniform<scalar_t>(iterator, generator,
                             [p = static_cast<Wide>(p)](Wide number) { return static_cast<scalar_t>(number < p); });
    });
  }
};

/// A thread of CUDA_tensor_apply2 takes four neighbours and draws once. Whole values of the probabilities are compared
/// in single precision, except for double ones.
template <class Scalar, class Probability>
void bernoulli_trials(at::Tensor& contiguous, const at::Tensor& probabilities, const Philox& philox) {
  constexpr int64_t kNeighbours = 4;
  check_borrowed(contiguous);
  check_borrowed(probabilities);
  const int64_t numel = contiguous.numel();
  auto* trials = contiguous.mutable_data_ptr<Scalar>();
  const auto* p = probabilities.const_data_ptr<Probability>();
  for (int64_t i = 0; i < numel; ++i) {
    if (!(0 <= p[i] && p[i] <= 1)) {
      forward::fail_device_assertion("aten::bernoulli_",
                                     c10::str("bernoulli_ expects p to be in [0, 1], but got p=", p[i]));
    }
  }
  parallel_for((numel + kNeighbours - 1) / kNeighbours, kDrawsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      const Words words = philox(thread, 0);
      for (int64_t i = thread * kNeighbours; i < std::min(numel, (thread + 1) * kNeighbours); ++i) {
        trials[i] = static_cast<Scalar>(Uniform4::number(words[i % kNeighbours]) <= p[i]);
      }
    }
  });
}

template <class>
struct BernoulliTensor {
  void operator()(at::Tensor& self, const at::Tensor& p, const MaybeGenerator& generator) {
    constexpr uint64_t kIncrement = 10;
    const auto [seed, offset] = cuda_generator(generator, self.device()).reserve(kIncrement);
    TORCH_CHECK(at::isFloatingType(p.scalar_type()), "expected probabilities tensor to have floating type, got ",
                p.scalar_type());
    const auto type = self.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor probabilities = p.to(self.options().dtype(type)).expand(self.sizes()).contiguous();
    at::Tensor trials = self.is_contiguous() ? self : at::empty(self.sizes(), self.options());
    const Philox philox(seed, offset);
    AT_DISPATCH_ALL_TYPES_AND3(
        at::kHalf, at::kBFloat16, at::kBool, self.scalar_type(), "bernoulli_tensor_cuda_self_", [&] {
          using Probability = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
          bernoulli_trials<scalar_t, Probability>(trials, probabilities, philox);
        });
    if (!trials.is_same(self)) {
      self.copy_(trials);
    }
  }
};

at::Tensor& uniform_(at::Tensor& self, double from, double to, MaybeGenerator generator) {
  return templates::uniform_impl_<Uniform, CudaGenerator*>(self, from, to, std::move(generator));
}

at::Tensor& normal_(at::Tensor& self, double mean, double std, MaybeGenerator generator) {
  return templates::normal_impl_<Normal, CudaGenerator*>(self, mean, std, std::move(generator));
}

template <class Mean, class Std>
at::Tensor& normal_out(Mean mean, Std std, MaybeGenerator generator, at::Tensor& out) {
  return templates::normal_out_impl<Normal, CudaGenerator*>(out, mean, std, std::move(generator));
}

template <class Mean, class Std>
at::Tensor normal(Mean mean, Std std, MaybeGenerator generator) {
  return templates::normal_impl<Normal, CudaGenerator*>(mean, std, std::move(generator));
}

at::Tensor& log_normal_(at::Tensor& self, double mean, double std, MaybeGenerator generator) {
  return templates::log_normal_impl_<LogNormal, CudaGenerator*>(self, mean, std, std::move(generator));
}

at::Tensor& geometric_(at::Tensor& self, double p, MaybeGenerator generator) {
  return templates::geometric_impl_<Geometric, CudaGenerator*>(self, p, std::move(generator));
}

at::Tensor& exponential_(at::Tensor& self, double lambda, MaybeGenerator generator) {
  return templates::exponential_impl_<Exponential, CudaGenerator*>(self, lambda, std::move(generator));
}

at::Tensor& cauchy_(at::Tensor& self, double median, double sigma, MaybeGenerator generator) {
  return templates::cauchy_impl_<Cauchy, CudaGenerator*>(self, median, sigma, std::move(generator));
}

at::Tensor& random_(at::Tensor& self, MaybeGenerator generator) {
  return templates::random_impl<RandomBits, CudaGenerator*>(self, std::move(generator));
}

at::Tensor& random_from(at::Tensor& self, int64_t from, std::optional<int64_t> to, MaybeGenerator generator) {
  return templates::random_from_to_impl<RandomFromTo, CudaGenerator*>(self, from, to, std::move(generator));
}

at::Tensor& random_to(at::Tensor& self, int64_t to, MaybeGenerator generator) {
  return random_from(self, 0, to, std::move(generator));
}

at::Tensor& bernoulli_(at::Tensor& self, double p, MaybeGenerator generator) {
  return templates::bernoulli_impl_<Bernoulli, CudaGenerator*>(self, p, std::move(generator));
}

at::Tensor& bernoulli_tensor(at::Tensor& self, const at::Tensor& p, MaybeGenerator generator) {
  return templates::bernoulli_impl_<BernoulliTensor, CudaGenerator*>(self, p, std::move(generator));
}

at::Tensor& bernoulli_out(const at::Tensor& self, MaybeGenerator generator, at::Tensor& out) {
  return templates::bernoulli_out_impl<BernoulliTensor, CudaGenerator*>(out, self, std::move(generator));
}

}  // namespace

void register_distributions(forward::Registrar& registrar) {
  if (forward::has_fallback()) {
    return;  // aten/NativeDistributions.cpp
  }
  using T = const at::Tensor&;
  registrar.implement<at::_ops::uniform_>(TORCH_FN(uniform_));
  registrar.implement<at::_ops::normal_>(TORCH_FN(normal_));
  registrar.implement<at::_ops::normal_Tensor_float>(TORCH_FN((normal<T, double>)));
  registrar.implement<at::_ops::normal_float_Tensor>(TORCH_FN((normal<double, T>)));
  registrar.implement<at::_ops::normal_Tensor_Tensor>(TORCH_FN((normal<T, T>)));
  registrar.implement<at::_ops::normal_Tensor_float_out>(TORCH_FN((normal_out<T, double>)));
  registrar.implement<at::_ops::normal_float_Tensor_out>(TORCH_FN((normal_out<double, T>)));
  registrar.implement<at::_ops::normal_Tensor_Tensor_out>(TORCH_FN((normal_out<T, T>)));
  registrar.implement<at::_ops::log_normal_>(TORCH_FN(log_normal_));
  registrar.implement<at::_ops::geometric_>(TORCH_FN(geometric_));
  registrar.implement<at::_ops::exponential_>(TORCH_FN(exponential_));
  registrar.implement<at::_ops::cauchy_>(TORCH_FN(cauchy_));
  registrar.implement<at::_ops::random_>(TORCH_FN(random_));
  registrar.implement<at::_ops::random__from>(TORCH_FN(random_from));
  registrar.implement<at::_ops::random__to>(TORCH_FN(random_to));
  registrar.implement<at::_ops::bernoulli__float>(TORCH_FN(bernoulli_));
  registrar.implement<at::_ops::bernoulli__Tensor>(TORCH_FN(bernoulli_tensor));
  registrar.implement<at::_ops::bernoulli_out>(TORCH_FN(bernoulli_out));
}

}  // namespace torchdevice::aten
