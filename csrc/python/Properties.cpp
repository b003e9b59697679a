// python/Properties.cpp: torch.cuda.get_device_properties(): the host, in the terms of a CUDA device.

#include <torch/csrc/utils/pybind.h>

#include <array>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "allocator/CachingAllocator.h"
#include "native/Backend.h"
#include "python/Bindings.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice {
namespace {

struct Uuid {
  std::array<uint8_t, 16> bytes;
};

struct DeviceProperties {
  std::string name;
  Uuid uuid;
  int major;
  int minor;
  int multi_processor_count;
  size_t total_memory;
  size_t l2_cache_size;
  int clock_rate;
  int memory_clock_rate;
  int memory_bus_width;
  bool is_integrated;
  int pci_bus_id;
  CapabilityLimits limits;
};

DeviceProperties read_properties(c10::DeviceIndex device) {
  const auto& host = native_backend().host();
  const auto* profile = device_profile();
  const auto [major, minor] = compute_capability();
  const int ordinal = visible_devices()[device];
  return {.name = profile ? profile->name : host.name,
          .uuid = {device_uuid(ordinal)},
          .major = major,
          .minor = minor,
          .multi_processor_count = profile ? profile->multiprocessors : host.cores,
          .total_memory = caching_allocator().getMemoryInfo(device).second,
          .l2_cache_size = profile ? profile->l2_cache_bytes : host.l2_cache_bytes,
          .clock_rate = profile ? profile->clock_khz : host.clock_khz,
          // 0: the host does not say.
          .memory_clock_rate = profile ? profile->memory_clock_khz : 0,
          .memory_bus_width = profile ? profile->memory_bus_bits : 0,
          // Without a profile a device says what it is: its memory is the host's.
          .is_integrated = !profile,
          // There is no bus, but programs tell devices apart by their place on it.
          .pci_bus_id = ordinal,
          .limits = capability_limits()};
}

constexpr size_t kMib = size_t{1024} * 1024;
constexpr int kKib = 1024;

std::string repr(const DeviceProperties& p) {
  std::ostringstream out;
  out << "_CudaDeviceProperties(name='" << p.name << "', major=" << p.major << ", minor=" << p.minor
      << ", total_memory=" << p.total_memory / kMib << "MB, multi_processor_count=" << p.multi_processor_count
      << ", uuid=" << uuid_text(p.uuid.bytes) << ", pci_bus_id=" << p.pci_bus_id << ", pci_device_id=0, pci_domain_id=0"
      << ", L2_cache_size=" << p.l2_cache_size / kMib << "MB)";
  return out.str();
}

/// A property that is the same for every device.
template <int value>
int fixed(const DeviceProperties& /*properties*/) {
  return value;
}

}  // namespace

void add_properties(PyObject* torch_c) {
  const auto m = py::handle(torch_c).cast<py::module>();
  py::class_<Uuid>(m, "_CUuuid", py::module_local())
      .def_property_readonly("bytes",
                             [](const Uuid& u) { return std::vector<uint8_t>(u.bytes.begin(), u.bytes.end()); })
      .def("__str__", [](const Uuid& u) { return uuid_text(u.bytes); });

  using P = DeviceProperties;
  py::class_<P>(m, "_CudaDeviceProperties", py::module_local())
      .def_readonly("name", &P::name)
      .def_readonly("major", &P::major)
      .def_readonly("minor", &P::minor)
      .def_property_readonly("is_multi_gpu_board", fixed<0>)
      .def_property_readonly("is_integrated", [](const P& p) { return p.is_integrated ? 1 : 0; })
      .def_readonly("multi_processor_count", &P::multi_processor_count)
      .def_readonly("total_memory", &P::total_memory)
      .def_property_readonly("max_threads_per_block", fixed<1024>)
      .def_property_readonly("max_threads_per_multi_processor",
                             [](const P& p) { return p.limits.threads_per_multiprocessor; })
      .def_property_readonly("warp_size", fixed<32>)
      .def_property_readonly("shared_memory_per_block", fixed<48 * kKib>)
      .def_property_readonly("shared_memory_per_block_optin",
                             [](const P& p) { return p.limits.shared_per_block_optin_kib * kKib; })
      .def_property_readonly("shared_memory_per_multiprocessor",
                             [](const P& p) { return p.limits.shared_per_multiprocessor_kib * kKib; })
      .def_property_readonly("regs_per_multiprocessor", fixed<65536>)
      .def_readonly("clock_rate", &P::clock_rate)
      .def_readonly("memory_clock_rate", &P::memory_clock_rate)
      .def_readonly("memory_bus_width", &P::memory_bus_width)
      .def_readonly("gcnArchName", &P::name)
      .def_readonly("uuid", &P::uuid)
      .def_readonly("pci_bus_id", &P::pci_bus_id)
      .def_property_readonly("pci_device_id", fixed<0>)
      .def_property_readonly("pci_domain_id", fixed<0>)
      .def_readonly("L2_cache_size", &P::l2_cache_size)
      .def("__repr__", repr);
}

void add_get_device_properties(PyObject* torch_cuda) {
  auto m = py::handle(torch_cuda).cast<py::module>();
  // One object a device, as in a CUDA build: programs compare them.
  m.def(
      "_get_device_properties",
      [](c10::DeviceIndex device) -> const DeviceProperties& {
        static std::map<c10::DeviceIndex, DeviceProperties> read;
        const auto index = resolve_device(device);
        check_device(index);
        return read.try_emplace(index, read_properties(index)).first->second;
      },
      py::return_value_policy::reference);
}

}  // namespace torchdevice
