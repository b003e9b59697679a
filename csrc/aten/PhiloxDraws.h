// aten/PhiloxDraws.h: what CUDA's threads draw, and which element gets it.
//
// Sources: torch's ATen/native/cuda/DistributionTemplates.h (calc_execution_policy,
// distribution_elementwise_grid_stride_kernel) and cuRAND's curand_philox4x32_x.h, curand_uniform.h, curand_normal.h.

#pragma once

#include <ATen/TensorIterator.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "allocator/BorrowedMemory.h"
#include "runtime/DeviceProfile.h"
#include "runtime/Generator.h"
#include "runtime/Parallel.h"
#include "runtime/Philox.h"

namespace torchdevice::aten {

using Words = std::array<uint32_t, 4>;

/// One generator's stream of a thread: what curand_init(seed, thread, offset) sets up.
class Philox {
 public:
  Philox(uint64_t seed, uint64_t offset) : key_{low(seed), high(seed)}, first_(offset / 4) {}
  /// The words of the call number `step` of a thread.
  Words operator()(uint64_t thread, uint64_t step) const {
    return philox_4x32_10({low(first_ + step), high(first_ + step), low(thread), high(thread)}, key_);
  }

 private:
  static uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
  static uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32U); }

  std::array<uint32_t, 2> key_;
  uint64_t first_;
};

/// How a kernel that draws `kNumbers` at a time deals `numel` elements to its threads: in each step a thread takes the
/// elements thread, thread + threads, ...
struct Deal {
  Deal(int64_t numel, int numbers) : numel(numel), numbers(numbers) {
    constexpr int64_t kBlock = 256;
    threads = std::min<int64_t>(grid_threads(), (numel + kBlock - 1) / kBlock * kBlock);
    steps = (numel - 1) / (threads * numbers) + 1;
  }
  /// What a kernel advances the generator's offset by.
  uint64_t increment() const { return static_cast<uint64_t>(steps) * 4; }

  int64_t numel;
  int numbers;
  int64_t threads;
  int64_t steps;
};

/// In (0, 1], of single precision: curand_uniform4().
struct Uniform4 {
  using Number = float;
  static constexpr int kNumbers = 4;
  static float number(uint32_t word) { return static_cast<float>(word) * 0x1p-32F + 0x1p-33F; }
  static void draw(const Words& words, int wanted, float* numbers) {
    for (int i = 0; i < wanted; ++i) {
      numbers[i] = number(words[i]);
    }
  }
};

/// In (0, 1], of double precision: curand_uniform2_double().
struct Uniform2 {
  using Number = double;
  static constexpr int kNumbers = 2;
  static uint64_t bits(uint32_t low, uint32_t high) { return low ^ (uint64_t{high} << 21U); }
  static void draw(const Words& words, int wanted, double* numbers) {
    for (size_t i = 0; i < static_cast<size_t>(wanted); ++i) {
      numbers[i] = static_cast<double>(bits(words[2 * i], words[2 * i + 1])) * 0x1p-53 + 0x1p-54;
    }
  }
};

/// Normal, of single precision, by Box and Muller: curand_normal4().
struct Normal4 {
  using Number = float;
  static constexpr int kNumbers = 4;
  static void draw(const Words& words, int wanted, float* numbers) {
    constexpr double kTurn = 0x1p-32F * 6.2831855F;
    for (int i = 0; i < wanted; i += 2) {
      const float radius = std::sqrt(-2 * std::log(Uniform4::number(words[i])));
      // A product of floats is exact in double precision, as in a GPU's fused multiplication and addition.
      const auto angle = static_cast<float>(static_cast<double>(static_cast<float>(words[i + 1])) * kTurn + kTurn / 2);
      numbers[i] = std::sin(angle) * radius;
      numbers[i + 1] = std::cos(angle) * radius;
    }
  }
};

/// Normal, of double precision: curand_normal2_double().
struct Normal2 {
  using Number = double;
  static constexpr int kNumbers = 2;
  static void draw(const Words& words, int /*wanted*/, double* numbers) {
    const double u = static_cast<double>(Uniform2::bits(words[0], words[1])) * 0x1p-53 + 0x1p-54;
    const double half_turns = static_cast<double>(Uniform2::bits(words[2], words[3])) * 0x1p-52 + 0x1p-53;
    const double radius = std::sqrt(-2 * std::log(u));
    numbers[0] = std::sin(std::numbers::pi * half_turns) * radius;
    numbers[1] = std::cos(std::numbers::pi * half_turns) * radius;
  }
};

/// Words as they are: curand4().
struct Words32 {
  using Number = uint32_t;
  static constexpr int kNumbers = 4;
  static void draw(const Words& words, int /*wanted*/, uint32_t* numbers) {
    std::copy(words.begin(), words.end(), numbers);
  }
};

/// Two words at a time.
struct Words64 {
  using Number = uint64_t;
  static constexpr int kNumbers = 2;
  static void draw(const Words& words, int /*wanted*/, uint64_t* numbers) {
    numbers[0] = uint64_t{words[0]} << 32U | words[1];
    numbers[1] = uint64_t{words[2]} << 32U | words[3];
  }
};

/// Draws from so many threads are worth a thread of the host.
inline constexpr int64_t kDrawsPerTask = 2048;

/// `put(element, number)` for every element of a kernel, in the host's threads.
template <class Draw, class Put>
void deal_numbers(const Deal& deal, const Philox& philox, const Put& put) {
  const int64_t last_step = deal.steps - 1;
  const int64_t per_step = deal.threads * Draw::kNumbers;
  const int64_t draws = last_step * deal.threads + std::min(deal.threads, deal.numel - last_step * per_step);
  parallel_for(draws, kDrawsPerTask, [&](int64_t begin, int64_t end) {
    std::array<typename Draw::Number, 4> numbers{};
    int64_t step = begin / deal.threads;
    int64_t thread = begin % deal.threads;
    for (int64_t draw = begin; draw < end; ++draw) {
      const int64_t first = step * per_step + thread;
      int wanted = 1;
      while (wanted < Draw::kNumbers && first + wanted * deal.threads < deal.numel) {
        ++wanted;
      }
      Draw::draw(philox(thread, step), wanted, numbers.data());
      for (int i = 0; i < wanted; ++i) {
        put(first + i * deal.threads, numbers[i]);
      }
      if (++thread == deal.threads) {
        thread = 0;
        ++step;
      }
    }
  });
}

/// Where an iterator's only operand has its elements, in the iterator's order.
class Places {
 public:
  explicit Places(at::TensorIteratorBase& iterator)
      : base_(static_cast<char*>(iterator.data_ptr(0))),
        sizes_(iterator.shape()),
        strides_(iterator.strides(0)),
        inner_(iterator.ndim() == 0 ? 0 : strides_[0]) {}
  void* operator()(int64_t element) const {
    if (sizes_.size() <= 1) {
      return base_ + element * inner_;
    }
    int64_t offset = 0;
    for (size_t i = 0; i < sizes_.size(); ++i) {
      offset += element % sizes_[i] * strides_[i];
      element /= sizes_[i];
    }
    return base_ + offset;
  }

 private:
  char* base_;
  at::IntArrayRef sizes_;
  at::IntArrayRef strides_;
  int64_t inner_;
};

/// Every element of the iterator's output gets `transform(number)`: distribution_nullary_kernel().
template <class Scalar, class Draw, class Transform>
void fill(at::TensorIteratorBase& iterator, CudaGenerator& generator, const Transform& transform) {
  if (iterator.numel() == 0) {
    return;
  }
  const Deal deal(iterator.numel(), Draw::kNumbers);
  const auto [seed, offset] = generator.reserve(deal.increment());
  if (!iterator.can_use_32bit_indexing()) {
    for (auto& part : iterator.with_32bit_indexing()) {
      fill<Scalar, Draw>(part, generator, transform);
    }
    return;
  }
  check_borrowed(iterator.tensor_base(0));
  const Places places(iterator);
  deal_numbers<Draw>(deal, Philox(seed, offset), [&](int64_t element, Draw::Number number) {
    *static_cast<Scalar*>(places(element)) = transform(number);
  });
}

}  // namespace torchdevice::aten
