// check/Checker.cpp: what torch's observers and ours tell, led to the checkers.

#include "check/Checker.h"

#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "allocator/PinnedMemory.h"
#include "check/Assertions.h"
#include "check/Call.h"
#include "check/Captures.h"
#include "check/Findings.h"
#include "check/Late.h"
#include "check/Operators.h"
#include "check/Uninitialized.h"
#include "check/Wanted.h"
#include "check/World.h"
#include "runtime/Capture.h"
#include "runtime/Device.h"
#include "runtime/Fork.h"
#include "runtime/Observer.h"
#include "runtime/Stream.h"
#include "runtime/ThreadState.h"

namespace torchdevice::check {
namespace {

/// An operator from its beginning to its end.
struct Underway final : at::ObserverContext {
  const Operator* op = nullptr;
  Underway* outer = nullptr;
  StackId stack = 0;
  bool has_begun = false;  ///< on a stream; otherwise the results tell the device
  CaptureId capture = 0;
  StreamNumber stream = kHost;
  Moment moment = 0;
  std::optional<Uninitialized::Used> copied;
  std::optional<Late::Copy> late;

  Launch launch() const { return {op, stack, stream, moment}; }
};

/// The innermost operator that this thread is in.
constinit thread_local Underway* innermost = nullptr;

class Checker final : public Observer {
 public:
  explicit Checker(const Wanted& wanted)
      : wanted_(wanted), orders_(wanted.races || wanted.lifetime), now_(wanted.races, wanted.lifetime) {}

  std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    // What a kernel calls is its own affair; so it is where a graph runs the kernel again.
    if (thread_state.forwarding_device >= 0 || (innermost != nullptr && innermost->op->is_whole)) {
      return nullptr;
    }
    const Operator* op = find_operator(function);
    if (op == nullptr) {
      return nullptr;
    }
    Call call;
    call.see(function.inputs(), *op);
    if (call.is_the_hosts()) {
      use_by_host(*op, call);
      return nullptr;
    }
    if (!call.reaches_kernel(*op)) {
      return nullptr;
    }
    auto underway = std::make_unique<Underway>();
    underway->op = op;
    underway->stack = wanted_.looks_at_operators() ? read_stack() : 0;
    if (!call.devices().empty()) {
      Late::Released released;
      const std::lock_guard guard(mutex_);
      run(*underway, call, function.inputs(), released);
      if (wanted_.late && underway->capture == 0) {
        underway->late = Late::begin(underway->launch(), function.inputs());
      }
    }
    underway->outer = std::exchange(innermost, underway.get());
    return underway;
  }

  void end(const at::RecordFunction& function, Underway& underway) {
    innermost = underway.outer;
    const Operator& op = *underway.op;
    Call call;
    const std::vector<c10::IValue>& outputs = function.outputs();
    for (size_t i = 0; i < outputs.size() && i < op.results.size(); ++i) {
      if (writes(op.results[i].use)) {
        call.see(outputs[i], op.arguments.size() + i);
      }
    }
    Late::Released released;
    const std::lock_guard guard(mutex_);
    if (underway.late.has_value()) {
      late_.end(*std::move(underway.late), now_.clocks(), released);
      shares_host_memory_.store(true, std::memory_order_release);
    }
    if (!underway.has_begun && !call.devices().empty()) {
      launch(underway, call.devices());
    }
    for (const Call::Seen& seen : call.tensors()) {
      use(underway, *seen.tensor, seen.value, Use::kWrite);
    }
  }

  void replayed(const c10::OperatorHandle& handle, c10::ArrayRef<c10::IValue> arguments) override {
    Underway underway;
    underway.op = &find_operator(handle);
    underway.stack = wanted_.looks_at_operators() ? read_stack() : 0;
    Call call;
    call.see(arguments, *underway.op);
    if (!call.devices().empty()) {
      Late::Released released;
      const std::lock_guard guard(mutex_);
      run(underway, call, arguments, released);
    }
  }

  void replays_freed(const c10::OperatorHandle& handle, size_t argument) override {
    if (wanted_.lifetime) {
      const Operator& op = find_operator(handle);
      report_freed_input(op.name, op.name_of(argument), read_stack());
    }
  }

  void event_recorded(const Event* event, c10::Stream stream) override {
    const std::lock_guard guard(mutex_);
    Clocks& clocks = world_of(stream).clocks();
    clocks.record(event, clocks.number(stream));
  }
  void event_awaited(const Event* event, c10::Stream stream) override {
    const std::lock_guard guard(mutex_);
    Clocks& clocks = world_of(stream).clocks();
    clocks.wait(clocks.number(stream), event);
  }
  void event_gone(const Event* event) noexcept override {
    in_each_world([event](World& world) {
      world.clocks().forget(event);
      return false;
    });
  }

  void host_waited_for(const Event* event) override {
    note_wait([&](Clocks& clocks) { clocks.host_waits(event); });
  }
  void host_waited_for(c10::Stream stream) override {
    note_wait([&](Clocks& clocks) { clocks.host_waits(clocks.number(stream)); });
  }
  void host_waited_for(c10::DeviceIndex device) override {
    note_wait([&](Clocks& clocks) { clocks.host_waits_for_device(device); });
  }

  void allocated(void* memory, size_t nbytes, c10::Stream stream) override {
    const StackId stack = !wanted_.uninitialized ? 0 : innermost != nullptr ? innermost->stack : read_stack();
    const std::lock_guard guard(mutex_);
    if (orders_) {
      World& world = world_of(stream);
      world.allocate(memory, nbytes, world.clocks().number(stream));
    }
    if (wanted_.uninitialized) {
      uninitialized_.allocate(memory, nbytes, stack);
    }
  }
  void freed(void* memory) noexcept override {
    const bool is_hazard = in_each_world([&](World& world) { return world.free(memory); });
    if (wanted_.uninitialized) {
      const std::lock_guard guard(mutex_);
      uninitialized_.free(memory);
    }
    if (is_hazard) {
      const StackId stack = read_stack();
      in_each_world([stack](World& world) {
        world.place_hazards(stack);
        return false;
      });
    }
  }
  void used_on(const void* memory, c10::Stream stream) override {
    const std::lock_guard guard(mutex_);
    World& world = world_of(stream);
    world.record_stream(memory, world.clocks().number(stream));
  }
  void capture_broken(const char* function) override {
    if (wanted_.graph) {
      report_broken_capture(innermost != nullptr ? innermost->op->name : "", function, read_stack());
    }
  }
  void assertion_failed(std::string_view op, std::string_view detail) override {
    if (wanted_.asserts) {
      report_assertion(op, detail, read_stack());
    }
  }
  void capture_ended(uint64_t capture) noexcept override {
    const std::lock_guard guard(mutex_);
    captures_.erase(capture);
  }

  std::vector<Wait> waits() {
    const std::lock_guard guard(mutex_);
    return waits_.list();
  }
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  template <class Visit>
  bool in_each_world(const Visit& visit) {
    const std::lock_guard guard(mutex_);
    bool any = visit(now_);
    for (auto& [capture, world] : captures_) {
      any |= visit(world);
    }
    return any;
  }

  /// `join(clocks)`: the host knows more from now on.
  template <class Join>
  void note_wait(const Join& join) {
    const bool is_read = innermost != nullptr && innermost->stack != 0;
    const StackId stack = !(wanted_.sync || wanted_.late) ? 0 : is_read ? innermost->stack : read_stack();
    Late::Released released;
    const std::lock_guard guard(mutex_);
    const uint64_t before = now_.clocks().pending();
    join(now_.clocks());
    late_.finish_known(now_.clocks(), stack, released);
    if (wanted_.sync) {
      waits_.note(innermost != nullptr ? innermost->op->name : "", stack, before - now_.clocks().pending());
    }
  }

  // All of these need mutex_ to be held, but for those that say otherwise.

  World& world(CaptureId capture) {
    return capture == 0 ? now_ : captures_.try_emplace(capture, wanted_.races, wanted_.lifetime).first->second;
  }
  World& world_of(c10::Stream stream) { return world(capture_of(stream)); }

  void run(Underway& underway, const Call& call, c10::ArrayRef<c10::IValue> arguments, Late::Released& released) {
    const Operator& op = *underway.op;
    if (!late_.empty()) {
      for (const Call::Seen& seen : call.tensors()) {
        if (seen.tensor->has_storage() && op.arguments[seen.value].use != Use::kNone) {
          late_.finish_for(seen.tensor->storage(), now_.clocks(), released);
        }
      }
    }
    launch(underway, call.devices());
    const bool ignores_self = op.beta.has_value() && is_zero(arguments[*op.beta]);
    for (const Call::Seen& seen : call.tensors()) {
      if (!(ignores_self && op.arguments[seen.value].name == "self" && op.arguments[seen.value].use == Use::kRead)) {
        use(underway, *seen.tensor, seen.value, op.arguments[seen.value].use);
      }
    }
    Clocks& clocks = world(underway.capture).clocks();
    for (const c10::DeviceIndex device : call.devices()) {
      if (device != call.devices().back()) {
        clocks.wait(clocks.number(current_stream(device)), underway.stream);
      }
    }
  }

  static bool is_zero(const c10::IValue& value) { return value.isScalar() && value.toScalar().equal(0); }

  /// On the current stream of the last of its devices, from which a copy reads, after what the others' have begun. In
  /// run() these go on after it.
  void launch(Underway& underway, const std::vector<c10::DeviceIndex>& devices) {
    const c10::Stream stream = current_stream(devices.back());
    underway.capture = capture_of(stream);
    World& world = this->world(underway.capture);
    Clocks& clocks = world.clocks();
    underway.stream = clocks.number(stream);
    for (const c10::DeviceIndex device : devices) {
      if (device != devices.back()) {
        clocks.wait(underway.stream, clocks.number(current_stream(device)));
      }
    }
    underway.moment = world.begin(underway.stream);
    underway.has_begun = true;
  }

  void use(Underway& underway, const at::Tensor& tensor, size_t value, Use how) {
    if (how == Use::kNone || !tensor.has_storage()) {
      return;
    }
    const c10::Storage& storage = tensor.storage();
    if (storage.data() == nullptr) {
      return;
    }
    const Region region(tensor);
    if (wanted_.uninitialized && underway.capture == 0) {
      uninitialized_.use({*underway.op, underway.stack, now_.clocks().describe(underway.stream)},
                         {tensor, region, value, how}, underway.copied);
    }
    // A GPU reaches no other memory of the host's: what is not pinned is staged while the host waits.
    if (!orders_ || !(tensor.is_cuda() || is_pinned(storage.data()))) {
      return;
    }
    if (!tensor.is_cuda()) {
      shares_host_memory_.store(true, std::memory_order_release);
    }
    world(underway.capture)
        .use(storage, {region, underway.op, value, underway.moment, underway.stream, underway.stack, writes(how)});
  }

  /// The host's own operators matter where they touch memory that a stream copies from or to. Takes mutex_ itself.
  void use_by_host(const Operator& op, const Call& call) {
    if (!shares_host_memory_.load(std::memory_order_acquire) || !knows_any(call)) {
      return;
    }
    const StackId stack = read_stack();
    const std::lock_guard guard(mutex_);
    const Moment moment = now_.begin(kHost);
    for (const Call::Seen& seen : call.tensors()) {
      const Use how = op.arguments[seen.value].use;
      if (how == Use::kNone || !is_shared(*seen.tensor)) {
        continue;
      }
      if (orders_) {
        now_.use(seen.tensor->storage(), {Region(*seen.tensor), &op, seen.value, moment, kHost, stack, writes(how)});
      }
      late_.use_by_host({&op, stack, kHost, moment}, seen.value, *seen.tensor, writes(how), wanted_.races,
                        now_.clocks());
    }
  }
  bool is_shared(const at::Tensor& tensor) const {
    return tensor.is_cpu() && tensor.layout() == c10::kStrided && tensor.has_storage() &&
           (now_.knows(tensor.storage().data()) || late_.knows(tensor.storage()));
  }
  /// Takes mutex_ itself.
  bool knows_any(const Call& call) {
    const std::lock_guard guard(mutex_);
    return std::ranges::any_of(call.tensors(), [this](const Call::Seen& seen) { return is_shared(*seen.tensor); });
  }

  const Wanted wanted_;
  const bool orders_;
  std::mutex mutex_;
  World now_;
  std::map<CaptureId, World> captures_;
  Uninitialized uninitialized_;
  Late late_;
  Waits waits_;
  std::atomic<bool> shares_host_memory_{false};
};

/// Never freed: memory is, until the process ends.
constinit Checker* checker = nullptr;

at::RecordFunctionCallback operator_callback() {
  return at::RecordFunctionCallback([](const at::RecordFunction& function) { return checker->begin(function); },
                                    [](const at::RecordFunction& function, at::ObserverContext* context) {
                                      if (context != nullptr) {
                                        checker->end(function, static_cast<Underway&>(*context));
                                      }
                                    })
      .needsInputs(true)
      .needsOutputs(true)
      .scopes({at::RecordScope::FUNCTION});
}

}  // namespace

bool is_checking() noexcept { return current_observer.load() != nullptr; }

std::vector<Wait> waits() { return checker != nullptr ? checker->waits() : std::vector<Wait>(); }

std::function<void()> install_checker() {
  const Wanted wanted = read_wanted();
  if (!wanted.any()) {
    return [] {};
  }
  if (checker == nullptr) {
    checker = new Checker(wanted);
    on_fork({.before = [] { checker->lock(); },
             .in_parent = [] { checker->unlock(); },
             .in_child = [] { checker->unlock(); }});
  }
  current_observer.store(checker);
  const at::CallbackHandle handle = at::addGlobalCallback(operator_callback());
  return [handle] {
    at::removeCallback(handle);
    current_observer.store(nullptr);
  };
}

}  // namespace torchdevice::check
