// graph/Recording.h: the operators of one captured graph, and how they run again on the same memory.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "graph/SavedMemory.h"

namespace torchdevice {
class Observer;
}

namespace torchdevice::graph {

// Note [Recorded arguments]
// A recorded operator keeps tensors of its own, stand-ins with the shape that its arguments and results had then.
// - Memory from the graph's private pool: a stand-in only points to it. The pool outlives the graph, and the blocks
//   in it are reused during capture as they will be during replay.
// - Other CUDA memory (parameters, static inputs): a stand-in keeps it alive. A GPU would read whatever is there, which
//   csrc/check tells.
// - Generators: stand-ins that share the state which they had then, as graphsafe_set_state() may give them another.
// - CPU scalars: copied, since a GPU takes them as kernel arguments. Other CPU tensors (pinned memory): kept as they
//   are, since a GPU reads them at every replay.

/// One operator, ready to run again.
struct Node {
  c10::OperatorHandle op;
  c10::DispatchKeySet keys;
  std::vector<c10::IValue> arguments;
  /// Where results go that the operator does not write there itself; an undefined tensor for a result that is a view.
  std::vector<at::Tensor> results;
  /// What the default generator drew from; undefined where the operator draws nothing.
  at::Generator default_generator;
};

// Note [Threads in a capture]
// Any thread whose current stream is captured takes part, forward and backward run on different ones. So a capture that
// one thread ends may find others in the middle of an operator. Those are waited for, and recorded. Whoever comes while
// they are waited for waits too; its operator is not recorded but runs once memory is as it was before the capture. So
// each operator is recorded whole, or runs as if there had been no capture.

class Recording {
 public:
  /// For work on cuda:`device` with memory from the private pool `pool`.
  Recording(c10::DeviceIndex device, c10::MempoolId_t pool);

  /// Runs `op` with the arguments on `stack`, and records it unless it changes nothing on the device. False, with
  /// nothing done, if the capture is over.
  bool run(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

  /// The capture is over: memory that the operators wrote to is as it was before, since a GPU has run nothing yet. Then
  /// `end`, which must not throw, ends the capture for everybody; only now do operators that came meanwhile go on. The
  /// caller does not hold Python's lock, as kernels that are waited for may want it.
  void close(const std::function<void()>& end);

  /// Runs every operator again, in order.
  void replay();

  bool empty() const noexcept { return nodes_.empty(); }
  /// The operators as a graph in the language of Graphviz.
  void write_dot(std::ostream& out) const;

 private:
  class Passage;
  enum class Phase : uint8_t { kOpen, kClosing, kClosed };
  struct KnownStorage {
    c10::weak_intrusive_ptr<c10::StorageImpl> source;  ///< keeps the address from being reused
    const void* data;
    c10::Storage stand_in;
  };

  /// Memory of the program that nobody has but the recording: on a GPU it would be free.
  void tell_of_freed_memory(Observer& observer) const;

  c10::IValue stand_in(const c10::OperatorHandle& op, const c10::IValue& value);
  at::Tensor stand_in(const c10::OperatorHandle& op, const at::Tensor& tensor);
  c10::Storage stand_in(const c10::Storage& storage);
  void save_before_write(const c10::IValue& value);
  std::vector<at::Tensor> fresh_results(const c10::OperatorHandle& op, const torch::jit::Stack& stack,
                                        const std::unordered_set<const c10::StorageImpl*>& known);

  const c10::DeviceIndex device_;
  const c10::MempoolId_t pool_;
  std::mutex mutex_;
  std::condition_variable changed_;  ///< of the next two
  Phase phase_ = Phase::kOpen;
  size_t running_ = 0;  ///< operators on their way
  std::vector<Node> nodes_;
  std::unordered_map<const c10::StorageImpl*, KnownStorage> storages_;
  std::unordered_set<const void*> pool_before_;  ///< blocks of the pool that were in use before the capture
  SavedMemory saved_;
};

/// A generator that draws from what this one draws from now, whatever state this one gets later.
at::Generator twin_of(at::Generator generator);

/// The tensors in a value: a tensor, or lists of tensors to any depth.
template <class Visit>
void for_each_tensor(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) {
      visit(value.toTensor());
    }
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) {
      for_each_tensor(element, visit);
    }
  }
}

}  // namespace torchdevice::graph
