// native/cpu/HostMac.cpp: what macOS says of the machine.

#if defined(__APPLE__)

#include <mach/mach.h>
#include <sys/sysctl.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "native/cpu/Host.h"

namespace torchdevice {
namespace {

/// An integer of sysctl, of either of the two widths in use; 0 where macOS does not say.
uint64_t read_number(const char* name) {
  uint64_t value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 ? value : 0;
}

std::string read_string(const char* name) {
  size_t size = 0;
  if (sysctlbyname(name, nullptr, &size, nullptr, 0) != 0 || size == 0) {
    return {};
  }
  std::string text(size, '\0');
  if (sysctlbyname(name, text.data(), &size, nullptr, 0) != 0) {
    return {};
  }
  text.resize(text.find('\0'));
  return text;
}

}  // namespace

HostFacts read_host_facts() {
  HostFacts facts;
  facts.name = read_string("machdep.cpu.brand_string");
  facts.cores = static_cast<int>(read_number("hw.physicalcpu"));
  facts.total_memory = read_number("hw.memsize");
  facts.l2_cache_bytes = read_number("hw.l2cachesize");
  facts.clock_khz = static_cast<int>(read_number("hw.cpufrequency") / 1000);  // Apple silicon does not say
  return facts;
}

size_t available_memory() {
  // 32 bits count pages of 16 KiB up to 64 TiB. torch itself calls host_statistics(), so every macOS under it has that.
  vm_statistics_data_t pages{};
  mach_msg_type_number_t count = HOST_VM_INFO_COUNT;
  if (host_statistics(mach_host_self(), HOST_VM_INFO, reinterpret_cast<host_info_t>(&pages), &count) != KERN_SUCCESS) {
    return 0;
  }
  // Inactive and purgeable pages are given up as soon as somebody asks.
  return (size_t{pages.free_count} + pages.inactive_count + pages.purgeable_count) * vm_page_size;
}

size_t available_swap() {
  xsw_usage usage{};
  size_t size = sizeof(usage);
  return sysctlbyname("vm.swapusage", &usage, &size, nullptr, 0) == 0 ? usage.xsu_avail : 0;
}

}  // namespace torchdevice

#endif  // defined(__APPLE__)
