// native/cpu/HostLinux.cpp: what Linux says of the machine.

#if defined(__linux__)

#include <sched.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "native/cpu/Host.h"

namespace torchdevice {
namespace {

constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

std::optional<size_t> parse_number(std::string_view text) {
  size_t value = 0;
  const auto start = std::min(text.find_first_not_of(" \t"), text.size());
  const auto [end, error] = std::from_chars(text.data() + start, text.data() + text.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<size_t> read_number(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  return std::getline(file, line) ? parse_number(line) : std::nullopt;
}

/// The text after "key:" in a file of such lines.
std::optional<std::string> read_field(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::string_view view = line;
    const auto colon = view.find(':');
    if (colon == std::string_view::npos || !view.starts_with(key) ||
        view.find_first_not_of(" \t", key.size()) != colon) {
      continue;
    }
    const auto start = view.find_first_not_of(" \t", colon + 1);
    return start == std::string_view::npos ? std::string() : std::string(view.substr(start));
  }
  return std::nullopt;
}

size_t read_kibibytes(std::string_view key) {
  const auto field = read_field("/proc/meminfo", key);
  return field.has_value() ? parse_number(*field).value_or(0) * 1024 : 0;
}

/// A control group that limits this process's memory.
struct MemoryGroup {
  std::string limit_file;
  std::string usage_file;
};

/// The groups that this process is in, innermost first: of version 2, then of version 1. Groups without a limit are
/// left out, as reading their files at every question would be for nothing.
std::vector<MemoryGroup> find_memory_groups() {
  std::vector<MemoryGroup> found;
  const size_t installed = read_kibibytes("MemTotal");
  const auto add = [&](MemoryGroup group) {
    const auto limit = read_number(group.limit_file);  // "max" is no number, and version 1 writes a huge one
    if (limit.has_value() && *limit < installed) {
      found.push_back(std::move(group));
    }
  };
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const bool unified = line.starts_with("0::");
    if (!unified && line.find(":memory:") == std::string::npos) {
      continue;
    }
    const std::string root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char* limit = unified ? "/memory.max" : "/memory.limit_in_bytes";
    const char* usage = unified ? "/memory.current" : "/memory.usage_in_bytes";
    for (std::string path = line.substr(line.rfind(':') + 1); path.size() > 1; path.resize(path.rfind('/'))) {
      add({root + path + limit, root + path + usage});
    }
    add({root + limit, root + usage});  // a container sees its own group here
  }
  return found;
}

const std::vector<MemoryGroup>& memory_groups() {
  static const auto& groups = *new std::vector<MemoryGroup>(find_memory_groups());
  return groups;
}

size_t memory_limit() {
  size_t limit = kUnlimited;
  for (const MemoryGroup& group : memory_groups()) {
    limit = std::min(limit, read_number(group.limit_file).value_or(kUnlimited));
  }
  return limit;
}

size_t memory_left() {
  size_t left = kUnlimited;
  for (const MemoryGroup& group : memory_groups()) {
    const size_t limit = read_number(group.limit_file).value_or(kUnlimited);
    const size_t usage = read_number(group.usage_file).value_or(0);
    left = std::min(left, limit - std::min(limit, usage));
  }
  return left;
}

std::string processor_name() {
  for (const char* key : {"model name", "Model", "cpu model", "Hardware"}) {
    if (auto name = read_field("/proc/cpuinfo", key); name.has_value() && !name->empty()) {
      return *name;
    }
  }
  utsname system{};
  return uname(&system) == 0 ? std::string(system.machine) : "CPU";
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                      : std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
}

size_t l2_cache_bytes() {
  if (const auto kibibytes = read_number("/sys/devices/system/cpu/cpu0/cache/index2/size")) {
    return *kibibytes * 1024;
  }
  return 0;
}

int clock_khz() {
  if (const auto khz = read_number("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")) {
    return static_cast<int>(*khz);
  }
  const auto megahertz = read_field("/proc/cpuinfo", "cpu MHz");
  return megahertz.has_value() ? static_cast<int>(parse_number(*megahertz).value_or(0)) * 1000 : 0;
}

}  // namespace

HostFacts read_host_facts() {
  HostFacts facts;
  facts.name = processor_name();
  facts.cores = usable_cores();
  facts.total_memory = std::min(read_kibibytes("MemTotal"), memory_limit());
  facts.l2_cache_bytes = l2_cache_bytes();
  facts.clock_khz = clock_khz();
  return facts;
}

size_t available_memory() { return std::min(read_kibibytes("MemAvailable"), memory_left()); }

size_t available_swap() {
  struct sysinfo info{};
  return sysinfo(&info) == 0 ? size_t{info.freeswap} * info.mem_unit : 0;
}

}  // namespace torchdevice

#endif  // defined(__linux__)
