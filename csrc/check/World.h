// check/World.h: who used which memory, in the order that streams and events make: races and lifetimes.

#pragma once

#include <c10/core/Storage.h>
#include <c10/util/intrusive_ptr.h>

#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "check/Clocks.h"
#include "check/Findings.h"
#include "check/Operators.h"
#include "check/Region.h"

namespace torchdevice::check {

/// An operator's use of some memory.
struct Access {
  Region region;
  const Operator* op = nullptr;
  size_t value = 0;  ///< of the operator's arguments, then its results
  Moment moment = 0;
  StreamNumber stream = kHost;
  StackId stack = 0;
  bool writes = false;
};

/// What runs now, or what runs at each replay of a graph that is being captured: two orders that know nothing of each
/// other. Under the checker's lock.
class World {
 public:
  World(bool finds_races, bool finds_lifetimes) : finds_races_(finds_races), finds_lifetimes_(finds_lifetimes) {}

  Clocks& clocks() { return clocks_; }

  /// An operator begins on `stream`.
  Moment begin(StreamNumber stream);

  /// `storage` has the access's region.
  void use(const c10::Storage& storage, Access access);
  /// Whether anything but the host's own work has used this memory of the host's.
  bool knows(const void* memory) const { return memory_.contains(memory); }

  void allocate(void* memory, size_t nbytes, StreamNumber stream);
  /// Whether that is a hazard, whose place is not known yet.
  bool free(void* memory);
  void place_hazards(StackId stack);
  void record_stream(const void* memory, StreamNumber stream);

 private:
  struct Memory {
    bool is_block = false;  ///< of the caching allocator, which says when it ends
    bool is_small = false;
    StreamNumber owner = kHost;
    std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> storage;  ///< otherwise it ends with this
    std::vector<Access> accesses;
    std::unordered_set<StreamNumber> recorded;
  };
  /// Memory that was freed although another stream may be using it. The next allocation of its kind may be given it.
  struct Hazard {
    StreamNumber owner;
    bool is_small;
    Access access;
    StackId freed;
  };

  /// That was missing, and is taken for granted once that was told.
  struct Order {
    StreamNumber first;
    Moment moment;
    StreamNumber second;
  };

  Memory& find(const c10::Storage& storage);
  Place place(const Access& access) const;
  void report_race(const Access& earlier, const Access& later);
  void report_reuse(const Hazard& hazard);

  const bool finds_races_;
  const bool finds_lifetimes_;
  Clocks clocks_;
  std::unordered_map<const void*, Memory> memory_;
  std::vector<Hazard> hazards_;
  std::vector<Order> told_;  ///< by the operator underway
};

}  // namespace torchdevice::check
