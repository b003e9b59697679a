// graph/Recorder.cpp: leads the operators that run on captured streams to the recording of their capture.

#include "graph/Recorder.h"

#include <unordered_map>
#include <utility>

#include "forward/Registrar.h"
#include "runtime/Device.h"
#include "runtime/Error.h"
#include "runtime/Stream.h"

namespace torchdevice::graph {
namespace {

// Note [Recording below autograd]
// On a thread that works on a captured stream every operator passes kCaptureKey, which stands below autograd and
// autocast and above CUDA. So what is recorded is what would reach CUDA's kernels, also from autograd's threads, which
// inherit the keys of the thread that called backward(). Threads that capture nothing never get here.

std::mutex recordings_mutex;

std::unordered_map<CaptureId, std::shared_ptr<Recording>>& recordings() {
  static auto* const all = new std::unordered_map<CaptureId, std::shared_ptr<Recording>>();
  return *all;
}

std::shared_ptr<Recording> find_recording(CaptureId capture) {
  const std::lock_guard guard(recordings_mutex);
  const auto known = recordings().find(capture);
  return known != recordings().end() ? known->second : nullptr;
}

/// The CUDA device that an operator works on: that of its first CUDA tensor, else the one that it is asked for.
c10::DeviceIndex device_of(const torch::jit::Stack& stack, size_t first) {
  for (size_t i = first; i < stack.size(); ++i) {
    const c10::IValue& value = stack[i];
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_cuda()) {
      return value.toTensor().device().index();
    }
    if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) {
        if (tensor.defined() && tensor.is_cuda()) {
          return tensor.device().index();
        }
      }
    }
    if (value.isDevice() && value.toDevice().is_cuda() && value.toDevice().has_index()) {
      return value.toDevice().index();
    }
  }
  return current_device();
}

bool is_collective(const c10::OperatorHandle& op) { return op.schema().name().starts_with("c10d::"); }

/// Operators of other libraries with a kernel of their own for CUDA are recorded through the operators that it calls.
/// Collectives call none.
bool is_recorded_whole(const c10::OperatorHandle& op) {
  return is_collective(op) || op.schema().name().starts_with("aten::") ||
         !op.hasKernelForDispatchKey(c10::DispatchKey::CUDA);
}

void record(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const auto below = keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kCaptureKey);
  const c10::Stream stream = current_stream(device_of(*stack, stack->size() - op.schema().arguments().size()));
  const CaptureId capture = capture_of(stream);
  const auto recording = capture != 0 && is_recorded_whole(op) ? find_recording(capture) : nullptr;
  if (recording == nullptr) {
    leave_ended_captures();
    op.redispatchBoxed(below, stack);
    return;
  }
  TORCH_CHECK_NOT_IMPLEMENTED(!is_collective(op), "torchdevice: ", op.operator_name(),
                              " cannot be captured into a CUDA graph, as there is no NCCL that would replay it; "
                              "run collectives outside of the capture.");
  note_captured_work(stream);
  if (!recording->run(op, below, stack)) {
    // Another thread has ended the capture.
    leave_ended_captures();
    op.redispatchBoxed(below, stack);
  }
}

/// A kernel for every operator that would otherwise be taken apart: composite kernels come before a backend's fallback.
void install_recorder() {
  auto& dispatcher = c10::Dispatcher::singleton();
  const auto kernel = [] { return c10::KernelFunction::makeFromBoxedFunction<&record>(); };
  static auto* const fallback =
      new c10::RegistrationHandleRAII(dispatcher.registerFallback(kCaptureKey, kernel(), "torchdevice"));
  static_cast<void>(fallback);
  forward::Registrar registrar;
  for (const c10::OperatorName& name : dispatcher.getAllOpNames()) {
    const auto op = dispatcher.findSchema(name);
    if (op.has_value() && op->hasKernelForDispatchKey(c10::DispatchKey::CUDA) &&
        (op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd) ||
         op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutogradNonFunctional))) {
      registrar.add(name, kCaptureKey, kernel());
    }
  }
}

}  // namespace

void start_recording(CaptureId capture, std::shared_ptr<Recording> recording) {
  static std::once_flag installed;
  std::call_once(installed, install_recorder);
  const std::lock_guard guard(recordings_mutex);
  recordings().emplace(capture, std::move(recording));
}

void stop_recording(CaptureId capture) {
  const std::lock_guard guard(recordings_mutex);
  recordings().erase(capture);
}

}  // namespace torchdevice::graph
