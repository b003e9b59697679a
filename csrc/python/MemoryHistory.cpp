// python/MemoryHistory.cpp: torch._C's functions that start and end the recording of memory history, or add to it.

#include <ATen/Context.h>
#include <ATen/record_function.h>
#include <torch/csrc/profiler/combined_traceback.h>
#include <torch/csrc/profiler/unwind/unwind.h>
#include <torch/csrc/utils/pybind.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "allocator/CachingAllocator.h"
#include "allocator/PinnedMemory.h"
#include "python/Bindings.h"

namespace torchdevice {
namespace {

using c10::CachingDeviceAllocator::RecordContext;

Context gather_frames(bool cpp) {
  const auto gather = [cpp] { return torch::CapturedTraceback::gather(/*python=*/true, /*script=*/true, cpp); };
  if (!Py_IsInitialized()) {
    return gather();
  }
  // Where Python has no memory for a frame it leaves an error, which the code that runs there knows nothing of.
  const py::gil_scoped_acquire gil;
  const py::error_scope before;
  return gather();
}
Context gather() { return gather_frames(/*cpp=*/false); }
Context gather_with_cpp() { return gather_frames(/*cpp=*/true); }

/// The callbacks by which record_function and compiled regions reach the history. With the interpreter's lock.
class ProgramCallbacks {
 public:
  void set(bool enabled, bool compile_context, bool global_record_annotations) {
    if (!enabled) {
      remove(annotations_);
      remove(compiled_regions_);
      return;
    }
    if (!annotations_.has_value()) {
      annotations_ =
          global_record_annotations ? at::addGlobalCallback(annotations()) : at::addThreadLocalCallback(annotations());
    }
    if (compile_context && !compiled_regions_.has_value()) {
      compiled_regions_ = at::addGlobalCallback(compiled_regions());
    }
  }

 private:
  static at::RecordFunctionCallback annotations() {
    return at::RecordFunctionCallback(
               [](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
                 caching_allocator().annotate(function.name(), "START");
                 return nullptr;
               },
               [](const at::RecordFunction& function, at::ObserverContext* /*context*/) {
                 caching_allocator().annotate(function.name(), "END");
               })
        .scopes({at::RecordScope::USER_SCOPE});
  }

  static bool is_compiled_region(const at::RecordFunction& function) {
    return std::string_view(function.name()).starts_with("Torch-Compiled Region");
  }
  static at::RecordFunctionCallback compiled_regions() {
    return at::RecordFunctionCallback(
               [](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
                 if (is_compiled_region(function)) {
                   thread_history().compile_contexts.emplace_back(function.name());
                 }
                 return nullptr;
               },
               [](const at::RecordFunction& function, at::ObserverContext* /*context*/) {
                 auto& contexts = thread_history().compile_contexts;
                 if (is_compiled_region(function) && !contexts.empty()) {
                   contexts.pop_back();
                 }
               })
        .scopes({at::RecordScope::FUNCTION});
  }

  static void remove(std::optional<at::CallbackHandle>& handle) {
    if (handle.has_value()) {
      at::removeCallback(*handle);
      handle.reset();
    }
  }

  std::optional<at::CallbackHandle> annotations_;
  std::optional<at::CallbackHandle> compiled_regions_;
};

/// Whose history is recorded. The end of recording is the end of both.
struct Recorded {
  bool pinned;
  bool cuda;
};

void record(HistorySettings settings, bool cpp_frames, bool compile_context, bool global_record_annotations,
            Recorded recorded) {
  static ProgramCallbacks callbacks;
  settings.recorder = gather;
  if (settings.enabled && cpp_frames) {
    settings.recorder = gather_with_cpp;
    torch::unwind::unwind();  // reads the libraries' tables now rather than in the first allocation
  }
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  callbacks.set(settings.enabled, compile_context, global_record_annotations);
  if (recorded.cuda || !settings.enabled) {
    caching_allocator().configure_history(settings);
  }
  if (recorded.pinned || !settings.enabled) {
    configure_pinned_history(settings);
  }
}

void record_history_legacy(bool enabled, bool record_context, int64_t max_entries, bool record_trace_context,
                           bool record_cpp_context, bool clear_history, bool compile_context,
                           bool global_record_annotations, const std::vector<std::string>& skip_actions, bool pinned,
                           bool cuda) {
  const auto when = record_trace_context ? RecordContext::ALLOC
                    : record_context     ? RecordContext::STATE
                                         : RecordContext::NEVER;
  record({.enabled = enabled,
          .max_entries = static_cast<size_t>(max_entries),
          .when = when,
          .clear = clear_history,
          .skip_actions = skip_actions},
         record_cpp_context, compile_context, global_record_annotations, {.pinned = pinned, .cuda = cuda});
}

void record_history(const std::optional<std::string>& enabled, const std::optional<std::string>& context,
                    const std::string& stacks, size_t max_entries, bool clear_history, bool compile_context,
                    bool global_record_annotations, const std::vector<std::string>& skip_actions, bool pinned,
                    bool cuda) {
  TORCH_CHECK(!enabled || *enabled == "state" || *enabled == "all", "expected state to be 'state', 'all', or None");
  TORCH_CHECK(!context || *context == "state" || *context == "alloc" || *context == "all",
              "expected context to be 'state', 'alloc', 'all', or None");
  TORCH_CHECK(stacks == "python" || stacks == "all", "expected stacks to be 'python', or 'all'");
  const auto when = !context              ? RecordContext::NEVER
                    : *context == "state" ? RecordContext::STATE
                    : *context == "alloc" ? RecordContext::ALLOC
                                          : RecordContext::ALL;
  record({.enabled = enabled.has_value(),
          .max_entries = enabled == "all" ? max_entries : 1,
          .when = when,
          .clear = clear_history,
          .skip_actions = skip_actions},
         stacks == "all", compile_context, global_record_annotations, {.pinned = pinned, .cuda = cuda});
}

void attach_oom_observer(py::function observer) {
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  // Kept for ever, as the allocator outlives the interpreter.
  auto* const kept = new py::function(std::move(observer));
  caching_allocator().attach_oom_observer([kept](int64_t device, size_t wanted, size_t total, size_t free) {
    const py::gil_scoped_acquire gil;
    (*kept)(device, wanted, total, free);
  });
}

}  // namespace

void add_memory_history(PyObject* torch_c) {
  auto m = py::handle(torch_c).cast<py::module>();
  // Before torch 2.14 they are called without the last two.
  const auto pinned = py::arg("record_pinned_host_memory") = false;
  const auto cuda = py::arg("record_cuda") = true;
  m.def("_cuda_record_memory_history", &record_history, py::arg("enabled"), py::arg("context"), py::arg("stacks"),
        py::arg("max_entries"), py::arg("clear_history"), py::arg("compile_context"),
        py::arg("global_record_annotations"), py::arg("skip_actions"), pinned, cuda);
  m.def("_cuda_record_memory_history_legacy", &record_history_legacy, py::arg("enabled"), py::arg("record_context"),
        py::arg("record_context_max_entries"), py::arg("alloc_trace_record_context"), py::arg("record_context_cpp"),
        py::arg("clear_history"), py::arg("compile_context"), py::arg("global_record_annotations"),
        py::arg("skip_actions"), pinned, cuda);
  m.def("_cuda_isHistoryEnabled", [] { return caching_allocator().history_enabled(); });
  m.def("_cuda_setMemoryMetadata", [](const std::string& metadata) { thread_history().user_metadata = metadata; });
  m.def("_cuda_getMemoryMetadata", [] { return thread_history().user_metadata; });
  m.def("_cuda_memoryMetadataSupported", [] { return caching_allocator().has_history(); });
  m.def("_cuda_annotateMemory", [](const py::int_& memory, const std::string& metadata) {
    caching_allocator().annotate_block(PyLong_AsVoidPtr(memory.ptr()), metadata);
  });
  m.def("_cuda_attach_out_of_memory_observer", &attach_oom_observer);
}

}  // namespace torchdevice
