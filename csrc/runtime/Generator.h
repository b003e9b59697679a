// runtime/Generator.h: CUDA's random number generators.

#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/Allocator.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "versions/Versions.h"

namespace torchdevice {

/// What a CUDA generator draws from. Several generators may share one. Who uses a generator holds its mutex; what
/// graphs change here guards itself, as threads capture at the same time.
class GeneratorState : public c10::intrusive_ptr_target {
 public:
  uint64_t seed = c10::default_rng_seed_val;
  uint64_t offset = 0;
  std::atomic<unsigned> captures = 0;  ///< that are underway into graphs which this state is registered with

  /// A graph that this state is registered with came or went. While there are any, a GPU's kernels read seed and offset
  /// from two cells of the memory of `device`: here nobody reads them, but memory statistics count them.
  void add_graph(c10::DeviceIndex device);
  void remove_graph() noexcept;

 private:
  std::mutex mutex_;
  unsigned graphs_ = 0;
  std::array<c10::DataPtr, 2> cells_;
};

/// State of one CUDA generator: 16 bytes, seed and offset, as on a GPU.
class CudaGenerator : public versions::NewerGenerator<c10::GeneratorImpl> {
 public:
  explicit CudaGenerator(c10::DeviceIndex device);

  void set_current_seed(uint64_t seed) override;
  uint64_t current_seed() const override;
  uint64_t seed() override;
  void set_offset(uint64_t offset) override;
  uint64_t get_offset() const override;
  void set_state(const c10::TensorImpl& state) override;
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override;
  /// From now on this generator and `generator` advance together.
  void graphsafe_set_state(const c10::intrusive_ptr<c10::GeneratorImpl>& generator) override;
  c10::intrusive_ptr<c10::GeneratorImpl> graphsafe_get_state() const override;
  void philox_state(uint64_t increment, at::Tensor& seed, at::Tensor& offset, at::Tensor& intragraph_offset) override;

  const c10::intrusive_ptr<GeneratorState>& state() const noexcept { return state_; }

  /// (seed, offset) of the next operator; advances the offset by `increment`, rounded up to a multiple of 4. Takes the
  /// mutex.
  std::pair<uint64_t, uint64_t> reserve(uint64_t increment);

  static c10::DeviceType device_type() { return c10::DeviceType::CUDA; }

 private:
  CudaGenerator* clone_impl() const override;
  /// reserve(), with the mutex held.
  std::pair<uint64_t, uint64_t> advance(uint64_t increment);

  c10::intrusive_ptr<GeneratorState> state_ = c10::make_intrusive<GeneratorState>();
};

/// The default generator of cuda:`device`; -1 means the current device.
const at::Generator& default_cuda_generator(c10::DeviceIndex device);

/// What an operator on `device` draws from: the given generator, or the default one. Throws c10::Error unless both are
/// CUDA's: a CUDA generator leads to CUDA's kernels also with a tensor on the CPU, whose kernel would have refused it.
/// Generators live as long as somebody holds them: the caller holds the given one.
CudaGenerator& cuda_generator(const std::optional<at::Generator>& generator, c10::Device device);

/// A new generator on cuda:`device`; -1 means the current device.
at::Generator make_cuda_generator(c10::DeviceIndex device);

}  // namespace torchdevice
