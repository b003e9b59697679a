// runtime/Generator.cpp: CUDA's random number generators.

#include "runtime/Generator.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>

#include <array>
#include <cstring>
#include <vector>

#include "runtime/Capture.h"
#include "runtime/Device.h"

namespace torchdevice {
namespace {

constexpr int64_t kSeedBytes = sizeof(uint64_t);
constexpr int64_t kStateBytes = 2 * kSeedBytes;

}  // namespace

void GeneratorState::add_graph(c10::DeviceIndex device) {
  const std::lock_guard lock(mutex_);
  if (graphs_++ > 0) {
    return;
  }
  const c10::DeviceGuard guard({c10::kCUDA, device});
  for (c10::DataPtr& cell : cells_) {
    cell = c10::GetAllocator(c10::kCUDA)->allocate(sizeof(uint64_t));
  }
}

void GeneratorState::remove_graph() noexcept {
  const std::lock_guard lock(mutex_);
  if (--graphs_ > 0) {
    return;
  }
  for (c10::DataPtr& cell : cells_) {
    cell.clear();
  }
}

CudaGenerator::CudaGenerator(c10::DeviceIndex device)
    : NewerGenerator({c10::kCUDA, device}, c10::DispatchKeySet(c10::DispatchKey::CUDA)) {}

void CudaGenerator::set_current_seed(uint64_t seed) {
  if (current_capture(current_device()) != 0) {
    TORCH_CHECK(state_->seed == seed,
                "CUDAGeneratorImpl::set_current_seed can be called during stream capture only if new seed is the same "
                "as the original seed.");
    return;
  }
  state_->seed = seed;
  state_->offset = 0;
}

uint64_t CudaGenerator::current_seed() const {
  assert_not_capturing("Cannot call CUDAGeneratorImpl::current_seed");
  return state_->seed;
}

uint64_t CudaGenerator::seed() {
  assert_not_capturing("Cannot call CUDAGeneratorImpl::seed");
  const uint64_t random = c10::detail::getNonDeterministicRandom(/*is_cuda=*/true);
  set_current_seed(random);
  return random;
}

void CudaGenerator::set_offset(uint64_t offset) {
  assert_not_capturing("Cannot call CUDAGeneratorImpl::set_offset");
  TORCH_CHECK(offset % 4 == 0, "offset must be a multiple of 4");
  state_->offset = offset;
}

uint64_t CudaGenerator::get_offset() const {
  assert_not_capturing("Cannot call CUDAGeneratorImpl::get_offset");
  return state_->offset;
}

c10::intrusive_ptr<c10::TensorImpl> CudaGenerator::get_state() const {
  at::Tensor bytes = at::detail::empty_cpu({kStateBytes}, at::kByte);
  const std::array<uint64_t, 2> words{current_seed(), state_->offset};
  std::memcpy(bytes.mutable_data_ptr(), words.data(), kStateBytes);
  return bytes.getIntrusivePtr();
}

void CudaGenerator::set_state(const c10::TensorImpl& state) {
  assert_not_capturing("Please ensure to utilize the CUDAGeneratorImpl::set_state_index method during capturing.");
  at::detail::check_rng_state(state);
  const int64_t nbytes = state.numel();
  // The seed alone was the whole state before torch 1.6, and torch still reads it.
  TORCH_CHECK(nbytes == kSeedBytes || nbytes == kStateBytes, "RNG state is wrong size");
  std::array<uint64_t, 2> words{};
  std::memcpy(words.data(), state.data(), static_cast<size_t>(nbytes));
  set_current_seed(words[0]);
  set_offset(words[1]);
}

void CudaGenerator::graphsafe_set_state(const c10::intrusive_ptr<c10::GeneratorImpl>& generator) {
  const auto* other = dynamic_cast<const CudaGenerator*>(generator.get());
  TORCH_CHECK(other != nullptr, "Expected a CUDA Generator");
  state_ = other->state_;
}

c10::intrusive_ptr<c10::GeneratorImpl> CudaGenerator::graphsafe_get_state() const {
  auto twin = c10::make_intrusive<CudaGenerator>(device().index());
  twin->state_ = state_;
  return twin;
}

CudaGenerator* CudaGenerator::clone_impl() const {
  auto* copy = new CudaGenerator(device().index());
  copy->state_->seed = state_->seed;
  copy->state_->offset = state_->offset;
  return copy;
}

void CudaGenerator::philox_state(uint64_t increment, at::Tensor& seed, at::Tensor& offset,
                                 at::Tensor& intragraph_offset) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      current_capture(device().index()) == 0,
      "torch.Generator.philox_state() during the capture of a CUDA graph: torchdevice has no memory of a GPU that a "
      "replay could write the seed and the offset to; reserve the numbers before the capture, or draw them with "
      "torch's own functions.");
  const auto number = [](uint64_t value) {
    at::Tensor tensor = at::detail::empty_cpu({1}, at::kLong);
    std::memcpy(tensor.mutable_data_ptr(), &value, sizeof(value));
    return tensor;
  };
  const auto [current_seed, begin] = advance(increment);
  seed = number(current_seed);
  offset = number(begin);
  intragraph_offset = number(0);
}

std::pair<uint64_t, uint64_t> CudaGenerator::reserve(uint64_t increment) {
  const std::lock_guard guard(mutex_);
  return advance(increment);
}

std::pair<uint64_t, uint64_t> CudaGenerator::advance(uint64_t increment) {
  const uint64_t offset = state_->offset;
  // Only replays draw from the generator.
  if (const CaptureId capture = current_capture(device().index())) {
    TORCH_CHECK(state_->captures > 0, "Attempt to increase offset for a CUDA generator not in capture mode.");
    at_capture_end(capture, state_.get(), [state = state_, offset] { state->offset = offset; });
  }
  state_->offset += (increment + 3) / 4 * 4;
  return {state_->seed, offset};
}

CudaGenerator& cuda_generator(const std::optional<at::Generator>& generator, c10::Device device) {
  TORCH_CHECK(device.is_cuda(), "Expected a '", device.type(), "' device type for generator but found 'cuda'");
  return *at::get_generator_or_default<CudaGenerator>(generator, default_cuda_generator(device.index()));
}

at::Generator make_cuda_generator(c10::DeviceIndex device) {
  if (device == -1) {
    device = current_device();
  }
  TORCH_CHECK(device >= 0 && device < device_count(), "The device_index is invalid.");
  return at::make_generator<CudaGenerator>(device);
}

const at::Generator& default_cuda_generator(c10::DeviceIndex device) {
  static const auto& generators = *[] {
    auto* all = new std::vector<at::Generator>();
    for (c10::DeviceIndex index = 0; index < device_count(); ++index) {
      all->push_back(at::make_generator<CudaGenerator>(index));
      all->back().seed();
    }
    return all;
  }();
  const auto num_gpus = static_cast<c10::DeviceIndex>(generators.size());
  const c10::DeviceIndex idx = device == -1 ? current_device() : device;
  TORCH_CHECK(idx >= 0 && idx < num_gpus);
  return generators[static_cast<size_t>(idx)];
}

}  // namespace torchdevice
