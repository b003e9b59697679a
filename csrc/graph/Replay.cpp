// graph/Replay.cpp: how a recording's operators run again on the same memory.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/copy_ops.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <ostream>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "allocator/CachingAllocator.h"
#include "graph/Recording.h"
#include "runtime/CaptureKey.h"
#include "runtime/Generator.h"
#include "runtime/Observer.h"

namespace torchdevice::graph {
namespace {

constexpr c10::DispatchKeySet kCuda{c10::DispatchKey::CUDA};

/// While it lives, the default generator of cuda:`device` draws from what `other`, if defined, draws from.
class DefaultGeneratorAs {
 public:
  DefaultGeneratorAs(c10::DeviceIndex device, const at::Generator& other) {
    if (!other.defined()) {
      return;
    }
    generator_ = default_cuda_generator(device);
    before_ = twin_of(generator_);
    draw_from(other);
  }
  ~DefaultGeneratorAs() {
    if (generator_.defined()) {
      draw_from(before_);
    }
  }
  DefaultGeneratorAs(const DefaultGeneratorAs&) = delete;
  DefaultGeneratorAs& operator=(const DefaultGeneratorAs&) = delete;

 private:
  void draw_from(const at::Generator& other) {
    const std::lock_guard guard(generator_.mutex());
    generator_.graphsafe_set_state(other);
  }

  at::Generator generator_;
  at::Generator before_;
};

/// Nothing above the CUDA kernels (autograd, autocast, modes, captures) takes part in a replay.
class BareDispatch {
 public:
  BareDispatch() : outer_(c10::impl::tls_local_dispatch_key_set()) {
    const c10::DispatchKeySet above =
        c10::autograd_dispatch_keyset_with_ADInplaceOrView | c10::autocast_dispatch_keyset |
        c10::DispatchKeySet({c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot,
                             c10::DispatchKey::FuncTorchDynamicLayerFrontMode,
                             c10::DispatchKey::FuncTorchDynamicLayerBackMode});
    c10::impl::PODLocalDispatchKeySet bare{};
    bare.set_included(c10::DispatchKeySet(c10::DispatchKey::BackendSelect));
    bare.set_excluded(above | c10::DispatchKeySet(kCaptureKey));
    c10::impl::_force_tls_local_dispatch_key_set(bare);
  }
  ~BareDispatch() { c10::impl::_force_tls_local_dispatch_key_set(outer_); }
  BareDispatch(const BareDispatch&) = delete;
  BareDispatch& operator=(const BareDispatch&) = delete;

 private:
  const c10::impl::LocalDispatchKeySet outer_;
  const at::NoGradGuard no_grad_;
};

}  // namespace

void Recording::tell_of_freed_memory(Observer& observer) const {
  struct Kept {
    c10::StorageImpl* storage;
    size_t owners = 0;  ///< in this recording
    const Node* reader = nullptr;
    size_t argument = 0;
  };
  std::vector<Kept> all;
  std::unordered_map<const c10::StorageImpl*, size_t> places;
  std::unordered_set<const at::TensorImpl*> counted;
  const auto count = [&](const at::Tensor& tensor) -> Kept* {
    if (!tensor.is_cuda() || !tensor.has_storage() || !counted.insert(tensor.unsafeGetTensorImpl()).second ||
        pool_of(tensor.storage().data()) != c10::MempoolId_t{0, 0}) {  // another pool lives as long as its graphs
      return nullptr;
    }
    c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
    const auto [place, is_new] = places.emplace(storage, all.size());
    if (is_new) {
      all.push_back({storage});
    }
    ++all[place->second].owners;
    return &all[place->second];
  };
  for (const Node& node : nodes_) {
    for (size_t i = 0; i < node.arguments.size(); ++i) {
      for_each_tensor(node.arguments[i], [&](const at::Tensor& tensor) {
        Kept* kept = count(tensor);
        if (kept != nullptr && kept->reader == nullptr) {
          kept->reader = &node;
          kept->argument = i;
        }
      });
    }
    for (const at::Tensor& result : node.results) {
      if (result.defined()) {
        count(result);
      }
    }
  }
  for (const Kept& kept : all) {
    if (kept.reader != nullptr && c10::raw::intrusive_ptr::use_count(kept.storage) == kept.owners) {
      observer.replays_freed(kept.reader->op, kept.argument);
    }
  }
}

void Recording::replay() {
  const c10::DeviceGuard device({c10::kCUDA, device_});
  const BareDispatch bare;
  const std::lock_guard guard(mutex_);
  tell_observer([this](Observer& one) { tell_of_freed_memory(one); });
  torch::jit::Stack stack;
  for (const Node& node : nodes_) {
    const DefaultGeneratorAs drawing(device_, node.default_generator);
    stack.assign(node.arguments.begin(), node.arguments.end());
    tell_observer([&](Observer& one) { one.replayed(node.op, node.arguments); });
    node.op.redispatchBoxed(node.keys, &stack);
    size_t next = 0;
    for (const c10::IValue& value : stack) {
      for_each_tensor(value, [&](const at::Tensor& tensor) {
        if (next < node.results.size() && node.results[next].defined()) {
          at::_ops::copy_::redispatch(kCuda, const_cast<at::Tensor&>(node.results[next]), tensor, false);
        }
        ++next;
      });
    }
  }
}

void Recording::write_dot(std::ostream& out) const {
  out << "digraph cuda_graph {\n";
  for (size_t i = 0; i < nodes_.size(); ++i) {
    out << "  node" << i << " [label=\"" << nodes_[i].op.operator_name() << "\"];\n";
    if (i > 0) {
      out << "  node" << i - 1 << " -> node" << i << ";\n";
    }
  }
  out << "}\n";
}

}  // namespace torchdevice::graph
