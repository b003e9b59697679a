// check/World.cpp: who used which memory, in the order that streams and events make.

#include "check/World.h"

#include <algorithm>
#include <utility>

#include "allocator/Block.h"

namespace torchdevice::check {
namespace {

constexpr size_t kManyAccesses = 256;  ///< of one storage; beyond it the oldest are forgotten

}  // namespace

World::Memory& World::find(const c10::Storage& storage) {
  Memory& memory = memory_[storage.data()];
  if (!memory.is_block && (!memory.storage.has_value() || memory.storage->expired())) {
    memory = Memory{};
    memory.storage.emplace(storage.getWeakStorageImpl());
  }
  return memory;
}

Moment World::begin(StreamNumber stream) {
  for (const Order& order : std::exchange(told_, {})) {
    clocks_.assume(order.first, order.moment, order.second);
  }
  return clocks_.begin(stream);
}

void World::use(const c10::Storage& storage, Access access) {
  std::vector<Access>& before = find(storage).accesses;
  for (const Access& earlier : before) {
    if ((earlier.writes || access.writes) && !clocks_.ordered(earlier.stream, earlier.moment, access.stream) &&
        earlier.region.overlaps(access.region)) {
      if (finds_races_) {
        report_race(earlier, access);
      }
      told_.push_back({earlier.stream, earlier.moment, access.stream});
    }
  }
  // Whatever would race with these would race with the new one, too.
  std::erase_if(before, [&](const Access& earlier) {
    return (access.writes || !earlier.writes) && clocks_.ordered(earlier.stream, earlier.moment, access.stream) &&
           access.region.covers(earlier.region);
  });
  if (before.size() >= kManyAccesses) {
    before.erase(before.begin(), before.begin() + kManyAccesses / 2);
  }
  before.push_back(std::move(access));
}

void World::allocate(void* memory, size_t nbytes, StreamNumber stream) {
  Memory fresh;
  fresh.is_block = true;
  fresh.is_small = nbytes <= kSmallSize;
  fresh.owner = stream;
  const bool is_small = fresh.is_small;
  memory_.insert_or_assign(memory, std::move(fresh));
  std::erase_if(hazards_, [&](const Hazard& hazard) {
    if (hazard.owner != stream || hazard.is_small != is_small) {
      return false;
    }
    if (!clocks_.ordered(hazard.access.stream, hazard.access.moment, stream)) {
      report_reuse(hazard);
      clocks_.assume(hazard.access.stream, hazard.access.moment, stream);
    }
    return true;
  });
}

bool World::free(void* memory) {
  const auto found = memory_.find(memory);
  if (found == memory_.end()) {
    return false;
  }
  const size_t before = hazards_.size();
  const Memory& freed = found->second;
  if (finds_lifetimes_ && freed.is_block) {
    for (const Access& access : freed.accesses) {
      if (!clocks_.ordered(access.stream, access.moment, freed.owner) && !freed.recorded.contains(access.stream)) {
        hazards_.push_back({freed.owner, freed.is_small, access, 0});
      }
    }
  }
  memory_.erase(found);
  return hazards_.size() != before;
}

void World::place_hazards(StackId stack) {
  for (Hazard& hazard : hazards_) {
    if (hazard.freed == 0) {
      hazard.freed = stack;
    }
  }
}

void World::record_stream(const void* memory, StreamNumber stream) {
  if (const auto found = memory_.find(memory); found != memory_.end()) {
    found->second.recorded.insert(stream);
  }
}

Place World::place(const Access& access) const {
  return {access.op->name, access.op->name_of(access.value), clocks_.describe(access.stream), access.stack};
}

void World::report_race(const Access& earlier, const Access& later) {
  const Place first = place(earlier);
  const Place second = place(later);
  const auto does = [](const Access& access) { return access.writes ? " writes " : " reads "; };
  Finding finding{"races", {}, {}, {first, second}};
  finding.explanation = second.what + does(later) + second.argument + " on " + second.stream + " while " + first.what +
                        " on " + first.stream + ", which" + does(earlier) + "the same memory (" + first.argument +
                        "), may still be running. Nothing orders the two: no event, no wait, no synchronization.";
  if (later.stream == kHost) {
    finding.remedy = "Let the host wait before it looks: " + first.stream +
                     ".synchronize(), or an event that is recorded after the copy and synchronized here.";
  } else if (earlier.stream == kHost) {
    finding.remedy =
        "Let the host touch the memory only when the copy is done: an event after it, and event.synchronize().";
  } else {
    finding.remedy =
        "Let the later stream wait for the earlier one before this line: later.wait_stream(earlier), or "
        "earlier.record_event() where its work ends and later.wait_event(event) here.";
  }
  findings().add(std::move(finding));
}

void World::report_reuse(const Hazard& hazard) {
  const Place user = place(hazard.access);
  const std::string owner = clocks_.describe(hazard.owner);
  Finding finding{"lifetime", {}, {}, {user, {"free", {}, owner, hazard.freed}}};
  finding.explanation = "Memory of " + owner + " was freed while " + user.what + " on " + user.stream +
                        " may still use it (" + user.argument + "). The next allocation on " + owner +
                        " may be given it and overwrite it.";
  finding.remedy =
      "Call tensor.record_stream(stream) with the stream that uses it, or let the owner's stream wait for that "
      "stream (wait_stream, wait_event) before the last reference goes.";
  findings().add(std::move(finding));
}

}  // namespace torchdevice::check
