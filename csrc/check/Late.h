// check/Late.h: copies that the host does not wait for, done as late as a GPU may do them.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/core/Storage.h>
#include <c10/util/intrusive_ptr.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "check/Clocks.h"
#include "check/Findings.h"
#include "check/Operators.h"
#include "check/Region.h"

namespace torchdevice::check {

/// An operator's call, and the moment of its stream.
struct Launch {
  const Operator* op = nullptr;
  StackId stack = 0;
  StreamNumber stream = kHost;
  Moment moment = 0;
};

/// See Note [Late copies]. Under the checker's lock.
class Late {
 public:
  /// Storages of the host that are no longer needed; to be let go without the lock, as that may lead back here.
  using Released = std::vector<c10::Storage>;

  /// A copy between a stream and pinned memory, which is underway.
  struct Copy {
    Launch launch;
    bool is_to_host = false;
    c10::Storage host;
    std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> device;  ///< of a copy to it
    Region host_region;
    Region device_region;
    std::vector<std::byte> before;  ///< in the host's memory
    std::vector<std::byte> result;  ///< of a copy to the host
    bool is_told = false;
  };

  /// Before the kernel runs: the copy, if `arguments` are those of one that may be late.
  static std::optional<Copy> begin(const Launch& launch, c10::ArrayRef<c10::IValue> arguments);
  /// The kernel has run: takes back what the host must not see yet.
  void end(Copy copy, const Clocks& clocks, Released& released);

  bool empty() const noexcept { return copies_.empty(); }
  /// Whether a copy is underway from or to this memory of the host's.
  bool knows(const c10::Storage& host) const;

  /// The device is about to use `storage`, its own or the host's.
  void finish_for(const c10::Storage& storage, const Clocks& clocks, Released& released);
  /// The host has waited at `stack`.
  void finish_known(const Clocks& clocks, StackId stack, Released& released);
  /// An operator of the host's is about to use `tensor`. Told here unless others tell it.
  void use_by_host(const Launch& launch, size_t value, const at::Tensor& tensor, bool writes, bool is_told_by_others,
                   const Clocks& clocks);

 private:
  template <class Condition>
  void finish_if(const Condition& condition, const Clocks& clocks, StackId stack, Released& released);
  void finish(std::list<Copy>::iterator copy, const Clocks& clocks, StackId stack, Released& released);

  std::list<Copy> copies_;  ///< in the order of their calls
  size_t bytes_ = 0;
};

}  // namespace torchdevice::check
