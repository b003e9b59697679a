// forward/Argument.cpp: generators and devices on their way to the native backend.

#include "forward/Argument.h"

#include "forward/AliasPool.h"
#include "native/Backend.h"
#include "runtime/Device.h"
#include "runtime/Generator.h"

namespace torchdevice::forward {
namespace {

/// Philox gives four numbers a counter step; one step an operator keeps every operator's stream its own.
constexpr uint64_t kOffsetPerOperator = 4;

}  // namespace

at::Generator native_generator(const std::optional<at::Generator>& generator, c10::DeviceIndex device) {
  // A CUDA generator leads here too without any CUDA tensor: the CPU's kernel would have refused it.
  const bool given = generator.has_value() && generator->defined();
  TORCH_CHECK(!given || device < 0 || !alias_pool().empty(),
              "Expected a 'cpu' device type for generator but found 'cuda'");
  const at::Generator& chosen = given ? *generator : default_cuda_generator(device);
  const auto [seed, offset] = at::check_generator<CudaGenerator>(chosen)->reserve(kOffsetPerOperator);
  auto& worker = alias_pool().native().translates_addresses ? host_backend() : native_backend();
  return worker.generator(seed, offset);
}

c10::DeviceIndex factory_device(std::optional<c10::Device> device) {
  if (!device.has_value() || !device->has_index()) {
    return current_device();
  }
  check_device(device->index());
  return device->index();
}

}  // namespace torchdevice::forward
