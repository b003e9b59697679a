// hooks/ScriptStreams.cpp: torch.cuda.Stream and torch.cuda.Event in TorchScript: the classes and functions that a
// CUDA build registers (torch/csrc/jit/cuda/cuda.h, torch/csrc/jit/runtime/register_cuda_ops.cpp).

#include "hooks/ScriptStreams.h"

#include <c10/core/Event.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include "hooks/ScriptOperators.h"
#include "runtime/Device.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

class ScriptStream;
using StreamPtr = c10::intrusive_ptr<ScriptStream>;
class ScriptEvent;
using EventPtr = c10::intrusive_ptr<ScriptEvent>;

class ScriptStream final : public torch::CustomClassHolder {
 public:
  ScriptStream(std::optional<c10::Device> device, int64_t priority)
      : ScriptStream(pool_stream(priority, script_device(device))) {}
  explicit ScriptStream(c10::Stream stream) : stream_(stream) {}

  c10::Stream get() const { return stream_; }
  int64_t id() const { return stream_.id(); }
  int64_t device_index() const { return stream_.device_index(); }
  c10::Device device() const { return stream_.device(); }

  bool query() { return stream_is_done(stream_); }
  void synchronize() { synchronize_stream(stream_); }
  EventPtr record_event(EventPtr event);
  void wait_event(const EventPtr& event);
  void wait_stream(const StreamPtr& stream);

 private:
  const c10::Stream stream_;
};

class ScriptEvent final : public torch::CustomClassHolder {
 public:
  ScriptEvent(bool enable_timing, bool /*blocking*/, bool interprocess)
      : event_(c10::kCUDA, enable_timing ? c10::EventFlag::BACKEND_DEFAULT : c10::EventFlag::PYTORCH_DEFAULT) {
    TORCH_CHECK(!enable_timing || !interprocess, "an interprocess CUDA event cannot time: use enable_timing=False");
  }

  bool query() { return event_.query(); }
  void synchronize() { event_.synchronize(); }
  void record(c10::Stream stream) { event_.record(stream); }
  void wait(c10::Stream stream) { event_.block(stream); }
  double elapsed_time(const EventPtr& end) { return event_.elapsedTime(end->event_); }

 private:
  c10::Event event_;
};

EventPtr ScriptStream::record_event(EventPtr event) {
  event->record(stream_);
  return event;
}

void ScriptStream::wait_event(const EventPtr& event) { event->wait(stream_); }

void ScriptStream::wait_stream(const StreamPtr& stream) {
  ScriptEvent event(/*enable_timing=*/false, /*blocking=*/false, /*interprocess=*/false);
  event.record(stream->stream_);
  event.wait(stream_);
}

void register_classes(torch::Library& library) {
  auto stream = library.class_<ScriptStream>("Stream");
  auto event = library.class_<ScriptEvent>("Event");
  stream
      .def(torch::init<std::optional<c10::Device>, int64_t>(), "",
           {torch::arg("device") = std::nullopt, torch::arg("priority") = 0})
      .def("query", &ScriptStream::query)
      .def("record_event", &ScriptStream::record_event)
      .def("synchronize", &ScriptStream::synchronize)
      .def("wait_event", &ScriptStream::wait_event)
      .def("wait_stream", &ScriptStream::wait_stream)
      .def("device_index", &ScriptStream::device_index)
      .def_property("device", &ScriptStream::device)
      .def("id", &ScriptStream::id);
  event
      .def(torch::init<bool, bool, bool>(), "",
           {torch::arg("enable_timing") = false, torch::arg("blocking") = false, torch::arg("interprocess") = false})
      .def("elapsed_time", &ScriptEvent::elapsed_time)
      .def("query", &ScriptEvent::query)
      .def("record", [](const EventPtr& event, const StreamPtr& stream) { event->record(stream->get()); })
      .def("synchronize", &ScriptEvent::synchronize)
      .def("wait", [](const EventPtr& event, const StreamPtr& stream) { event->wait(stream->get()); });
}

template <c10::Stream (*stream_of)(c10::DeviceIndex)>
void register_getter(torch::Library& library, const std::string& name) {
  const std::string result = " -> __torch__.torch.classes.cuda.Stream";
  library.def(torch::schema((name + ".device(Device? device)" + result).c_str(), c10::AliasAnalysisKind::CONSERVATIVE),
              [](std::optional<c10::Device> device) {
                return c10::make_intrusive<ScriptStream>(stream_of(script_device(device)));
              });
  library.def(
      torch::schema((name + ".int(int? val)" + result).c_str(), c10::AliasAnalysisKind::CONSERVATIVE),
      [](std::optional<int64_t> index) { return c10::make_intrusive<ScriptStream>(stream_of(script_device(index))); });
}

/// As torch.cuda.set_stream: the stream's device becomes the current one.
void set_stream(const StreamPtr& stream) {
  set_current_device(stream->get().device_index());
  exchange_stream(stream->get());
}

}  // namespace

void register_script_streams(torch::Library& library) {
  register_classes(library);
  register_getter<&current_stream>(library, "current_stream");
  register_getter<&default_stream>(library, "default_stream");
  library.def(torch::schema("set_stream(__torch__.torch.classes.cuda.Stream stream) -> ()",
                            c10::AliasAnalysisKind::CONSERVATIVE),
              &set_stream);
}

}  // namespace torchdevice
