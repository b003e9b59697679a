// check/Late.cpp: copies that the host does not wait for, done as late as a GPU may do them.

#include "check/Late.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "allocator/PinnedMemory.h"

namespace torchdevice::check {
namespace {

// Note [Late copies]
// A GPU does a copy from or to pinned memory at any time until the host waits. Here the kernel copies at once, and
// then:
//
// - of a copy to the host, the host gets its old bytes back. The new ones come when it has waited for the copy, or when
//   the device itself uses that memory;
// - of a copy to the device, the host's memory is read once more when the device uses what was copied, or when the host
//   has waited. What the host writes meanwhile is what the device gets.
//
// What the host changed meanwhile is told even if it did that past torch. What it only read past torch cannot be seen,
// but it read old bytes. Work of one stream is not late for another one: their order is the business of races. Copies
// that convert on their way to the device are not read again, and those of a captured graph are done at once.

constexpr size_t kMostBytes = size_t{256} << 20U;  ///< underway; beyond it the oldest copies are finished
constexpr size_t kMostCopies = 1024;

std::vector<std::byte> bytes_of(const Region& region) {
  std::vector<std::byte> bytes;
  bytes.reserve(region.size());
  region.for_each_run([&](uintptr_t begin, uintptr_t end) {
    const auto* from = reinterpret_cast<const std::byte*>(begin);  // NOLINT(performance-no-int-to-ptr)
    bytes.insert(bytes.end(), from, from + (end - begin));
  });
  return bytes;
}

void overwrite(const Region& region, const std::vector<std::byte>& bytes) {
  const std::byte* from = bytes.data();
  region.for_each_run([&](uintptr_t begin, uintptr_t end) {
    std::memcpy(reinterpret_cast<void*>(begin), from, end - begin);  // NOLINT(performance-no-int-to-ptr)
    from += end - begin;
  });
}

bool is_pinned_tensor(const at::Tensor& tensor) { return tensor.is_cpu() && is_pinned(tensor.storage().data()); }

/// Whether the bytes of the one are those of the other.
bool have_same_layout(const at::Tensor& one, const at::Tensor& other) {
  return one.dtype() == other.dtype() && one.sizes() == other.sizes() && one.strides() == other.strides() &&
         one.is_conj() == other.is_conj() && one.is_neg() == other.is_neg();
}

Place place_of(const Launch& launch, const std::string& argument, const Clocks& clocks) {
  return {launch.op->name, argument, clocks.describe(launch.stream), launch.stack};
}

void report_use(const Late::Copy& copy, Place host, const char* did, const Clocks& clocks) {
  const Place first = place_of(copy.launch, copy.is_to_host ? "self" : "src", clocks);
  const std::string copies = copy.is_to_host ? " fills" : " reads";
  Finding finding{"late", {}, {}, {first, std::move(host)}};
  finding.explanation = finding.places[1].what + did + "pinned memory that " + first.what + " on " + first.stream +
                        copies + " (" + first.argument + "), and the host has not waited for that copy. " +
                        (copy.is_to_host ? "It finds the bytes from before it." : "The device gets the new bytes.");
  finding.remedy = "Let the host wait before it touches the memory: " + first.stream +
                   ".synchronize(), or an event that is recorded after the copy and synchronized here.";
  findings().add(std::move(finding));
}

}  // namespace

std::optional<Late::Copy> Late::begin(const Launch& launch, c10::ArrayRef<c10::IValue> arguments) {
  if (launch.op->name != "aten::copy_" || !arguments[2].toBool()) {
    return std::nullopt;
  }
  const at::Tensor& self = arguments[0].toTensor();
  const at::Tensor& src = arguments[1].toTensor();
  Copy copy;
  copy.launch = launch;
  copy.is_to_host = src.is_cuda() && is_pinned_tensor(self);
  if (!copy.is_to_host && !(self.is_cuda() && is_pinned_tensor(src) && have_same_layout(self, src))) {
    return std::nullopt;
  }
  const at::Tensor& host = copy.is_to_host ? self : src;
  copy.host = host.storage();
  copy.host_region = Region(host);
  if (copy.host_region.empty() || copy.host_region.size() > kMostBytes) {
    return std::nullopt;
  }
  copy.before = bytes_of(copy.host_region);
  if (!copy.is_to_host) {
    copy.device.emplace(self.storage().getWeakStorageImpl());
    copy.device_region = Region(self);
  }
  return copy;
}

void Late::end(Copy copy, const Clocks& clocks, Released& released) {
  if (copy.is_to_host) {
    copy.result = bytes_of(copy.host_region);
    overwrite(copy.host_region, copy.before);
  }
  bytes_ += copy.before.size();
  copies_.push_back(std::move(copy));
  while (bytes_ > kMostBytes || copies_.size() > kMostCopies) {
    finish(copies_.begin(), clocks, 0, released);
  }
}

bool Late::knows(const c10::Storage& host) const {
  return std::ranges::any_of(copies_, [&](const Copy& copy) { return copy.host.is_alias_of(host); });
}

template <class Condition>
void Late::finish_if(const Condition& condition, const Clocks& clocks, StackId stack, Released& released) {
  for (auto copy = copies_.begin(); copy != copies_.end();) {
    const auto next = std::next(copy);
    if (condition(*copy)) {
      finish(copy, clocks, stack, released);
    }
    copy = next;
  }
}

void Late::finish_for(const c10::Storage& storage, const Clocks& clocks, Released& released) {
  const auto* impl = storage.unsafeGetStorageImpl();
  const auto has_it = [impl](const Copy& copy) {
    return copy.host.unsafeGetStorageImpl() == impl ||
           (copy.device.has_value() && copy.device->_unsafe_get_target() == impl);
  };
  finish_if(has_it, clocks, 0, released);
}

void Late::finish_known(const Clocks& clocks, StackId stack, Released& released) {
  const auto is_known = [&](const Copy& copy) { return clocks.ordered(copy.launch.stream, copy.launch.moment, kHost); };
  finish_if(is_known, clocks, stack, released);
}

void Late::use_by_host(const Launch& launch, size_t value, const at::Tensor& tensor, bool writes,
                       bool is_told_by_others, const Clocks& clocks) {
  const Region region(tensor);
  for (Copy& copy : copies_) {
    if (!(copy.is_to_host || writes) || !copy.host_region.overlaps(region)) {
      continue;
    }
    if (!copy.is_told && !is_told_by_others) {
      report_use(copy, place_of(launch, launch.op->name_of(value), clocks), writes ? " writes " : " reads ", clocks);
    }
    copy.is_told = true;
  }
}

void Late::finish(std::list<Copy>::iterator copy, const Clocks& clocks, StackId stack, Released& released) {
  const std::vector<std::byte> now = bytes_of(copy->host_region);
  if (now != copy->before && !copy->is_told) {
    report_use(*copy, {"the host, before this line,", {}, {}, stack}, " changed ", clocks);
  }
  if (copy->is_to_host) {
    overwrite(copy->host_region, copy->result);
  } else if (const auto device = copy->device->lock()) {
    // Where something that is not seen has written since, that is newer.
    if (now != copy->before && bytes_of(copy->device_region) == copy->before) {
      overwrite(copy->device_region, now);
    }
  }
  bytes_ -= copy->before.size();
  released.push_back(std::move(copy->host));
  copies_.erase(copy);
}

}  // namespace torchdevice::check
