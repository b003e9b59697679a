// Generator.cpp: the random numbers of the simulated GPU: Philox's seed and offset, as MPSGeneratorImpl has them.

#include "Generator.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Utils.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <mutex>

namespace mps_simulator {
namespace {

class Generator final : public c10::GeneratorImpl {
 public:
  Generator() : c10::GeneratorImpl(c10::Device(c10::kMPS, 0), c10::DispatchKeySet(c10::DispatchKey::MPS)) {}

  static c10::DeviceType device_type() { return c10::kMPS; }

  void set_current_seed(uint64_t seed) override {
    seed_ = seed;
    offset_ = 0;
  }
  void set_offset(uint64_t offset) override { offset_ = offset; }
  uint64_t get_offset() const override { return offset_; }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override {
    set_current_seed(c10::detail::getNonDeterministicRandom());
    return seed_;
  }
  void set_state(const c10::TensorImpl& state) override {
    at::detail::check_rng_state(state);
    const auto* words = static_cast<const uint64_t*>(state.data());
    seed_ = words[0];
    offset_ = words[1];
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    at::Tensor state = at::empty({16}, at::kByte);
    const uint64_t words[] = {seed_, offset_};
    std::memcpy(state.mutable_data_ptr(), words, sizeof(words));
    return state.getIntrusivePtr();
  }

 private:
  GeneratorImpl* clone_impl() const override {
    auto* copy = new Generator();
    copy->seed_ = seed_;
    copy->offset_ = offset_;
    return copy;
  }

  uint64_t seed_ = c10::detail::getNonDeterministicRandom();
  uint64_t offset_ = 0;
};

/// All 64 bits go into the lower 32, which is what the Mersenne twister takes (the finalizer of SplitMix64).
uint64_t mixed(uint64_t word) {
  word = (word + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9;
  word = (word ^ (word >> 27U)) * 0x94D049BB133111EB;
  return word ^ (word >> 31U);
}

}  // namespace

const at::Generator& default_generator() {
  static const auto* const generator = new at::Generator(at::make_generator<Generator>());
  return *generator;
}

at::Generator new_generator() { return at::make_generator<Generator>(); }

at::Generator host_generator(const std::optional<at::Generator>& generator) {
  at::Generator chosen = generator.has_value() && generator->defined() ? *generator : default_generator();
  TORCH_CHECK(chosen.device().is_mps(), "Expected a 'mps' device type for generator but found '",
              chosen.device().type(), "'");
  const std::lock_guard guard(chosen.mutex());
  const uint64_t seed = chosen.current_seed();
  const uint64_t offset = chosen.get_offset();
  chosen.set_offset(offset + 4);
  return at::make_generator<at::CPUGeneratorImpl>(mixed(seed + mixed(offset)));
}

}  // namespace mps_simulator
