// python/MemorySnapshot.cpp: torch.cuda.memory._snapshot(): segments, blocks and traces as Python objects.

#include <c10/core/AllocatorConfig.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/profiler/combined_traceback.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/csrc/utils/python_numbers.h>

#include <string>
#include <utility>
#include <vector>

#include "allocator/AllocatorSettings.h"
#include "allocator/CachingAllocator.h"
#include "allocator/PinnedMemory.h"
#include "python/Bindings.h"
#include "runtime/Device.h"
#include "versions/Versions.h"

namespace torch {
// Of torch/csrc/profiler/python/combined_traceback.h, which needs a header that torch does not ship.
TORCH_PYTHON_API std::vector<pybind11::object> py_symbolize(std::vector<CapturedTraceback*>& to_symbolize);
}  // namespace torch

namespace torchdevice {
namespace {

using c10::CachingAllocator::AcceleratorAllocatorConfig;
using c10::CachingDeviceAllocator::BlockInfo;
using c10::CachingDeviceAllocator::SegmentInfo;
using c10::CachingDeviceAllocator::TraceEntry;

/// The dictionaries that want "frames", whose contexts are turned into frames all at once, as they share most of them.
class Frames {
 public:
  void add(const py::dict& dict, const Context& context) {
    if (context != nullptr) {
      contexts_.push_back(torch::getCapturedTracebackFromContext(context));
      dicts_.push_back(dict);
    }
  }
  void fill() {
    const auto frames = torch::py_symbolize(contexts_);
    for (size_t i = 0; i < frames.size(); ++i) {
      dicts_[i]["frames"] = frames[i];
    }
  }

 private:
  std::vector<torch::CapturedTraceback*> contexts_;
  std::vector<py::dict> dicts_;
};

const char* state_name(const BlockInfo& block) {
  return block.allocated ? "active_allocated" : block.active ? "active_pending_free" : "inactive";
}

py::dict segment_dict(const SegmentInfo& segment, Frames& frames) {
  const py::list no_frames;
  py::dict dict;
  dict["device"] = segment.device;
  dict["address"] = segment.address;
  dict["total_size"] = segment.total_size;
  dict["allocated_size"] = segment.allocated_size;
  dict["active_size"] = segment.active_size;
  dict["requested_size"] = segment.requested_size;
  dict["stream"] = reinterpret_cast<int64_t>(segment.stream);
  dict["segment_type"] = segment.is_large ? "large" : "small";
  dict["segment_pool_id"] = segment.owner_private_pool_id;
  dict["is_expandable"] = segment.is_expandable;
  dict["frames"] = no_frames;
  frames.add(dict, segment.context_when_allocated);
  py::list blocks;
  size_t address = segment.address;
  for (const BlockInfo& block : segment.blocks) {
    py::dict entry;
    entry["address"] = address;
    entry["size"] = block.size;
    entry["requested_size"] = block.requested_size;
    entry["state"] = state_name(block);
    entry["frames"] = no_frames;
    frames.add(entry, block.context_when_allocated);
    blocks.append(entry);
    address += block.size;
  }
  dict["blocks"] = blocks;
  return dict;
}

/// The one segment of each pinned block, in the form of a device's segments.
py::list host_segments(Frames& frames) {
  py::list segments;
  for (const PinnedBlock& block : pinned_blocks()) {
    const size_t used = block.in_use ? block.nbytes : 0;
    SegmentInfo segment;
    segment.device = -1;
    segment.address = block.address;
    segment.total_size = segment.requested_size = block.nbytes;
    segment.allocated_size = segment.active_size = used;
    segment.blocks.push_back({.size = block.nbytes,
                              .requested_size = block.nbytes,
                              .allocated = block.in_use,
                              .active = block.in_use,
                              .context_when_allocated = block.context});
    segments.append(segment_dict(segment, frames));
  }
  return segments;
}

const char* action_name(TraceEntry::Action action) {
  if (action == versions::annotation<TraceEntry>()) {
    return "annotate";
  }
  static constexpr std::pair<TraceEntry::Action, const char*> kNames[] = {
      {TraceEntry::ALLOC, "alloc"},
      {TraceEntry::FREE_REQUESTED, "free_requested"},
      {TraceEntry::FREE_COMPLETED, "free_completed"},
      {TraceEntry::SEGMENT_ALLOC, "segment_alloc"},
      {TraceEntry::SEGMENT_FREE, "segment_free"},
      {TraceEntry::SEGMENT_MAP, "segment_map"},
      {TraceEntry::SEGMENT_UNMAP, "segment_unmap"},
      {TraceEntry::SNAPSHOT, "snapshot"},
      {TraceEntry::OOM, "oom"},
  };
  for (const auto& [known, name] : kNames) {
    if (known == action) {
      return name;
    }
  }
  TORCH_INTERNAL_ASSERT(false, "unreachable");
}

py::dict entry_dict(const TraceEntry& entry, Frames& frames) {
  py::dict dict;
  frames.add(dict, entry.context_);
  dict["action"] = action_name(entry.action_);
  dict[entry.action_ == TraceEntry::OOM ? "device_free" : "addr"] = entry.addr_;
  dict["size"] = entry.size_;
  dict["stream"] = reinterpret_cast<int64_t>(entry.stream_);
  dict["time_us"] = entry.time_.t_;
  dict["compile_context"] = entry.compile_context_;
  dict["user_metadata"] = entry.user_metadata_;
  if constexpr (versions::RecordsHistory<at::HostAllocator>) {
    dict["pool_id"] = entry.mempool_;
  }
  return dict;
}

/// Of pinned memory, which belongs neither to a compiled region nor to what a thread says of itself.
py::list host_traces(Frames& frames) {
  py::list entries;
  for (TraceEntry& entry : pinned_trace()) {
    entry.compile_context_.clear();
    entry.user_metadata_.clear();
    entries.append(entry_dict(entry, frames));
  }
  return entries;
}

py::dict annotation_dict(const Annotation& annotation) {
  py::dict dict;
  dict["stage"] = annotation.stage;
  dict["name"] = annotation.name;
  dict["device"] = annotation.device;
  dict["time_us"] = annotation.time.t_;
  return dict;
}

py::dict settings_dict() {
  py::dict divisions;
  size_t megabytes = 1;
  for (const size_t count : AcceleratorAllocatorConfig::roundup_power2_divisions()) {
    divisions[py::str(std::to_string(megabytes))] = count;
    megabytes *= 2;
  }
  py::dict dict;
  dict["PYTORCH_CUDA_ALLOC_CONF"] = c10::CachingAllocator::getAllocatorSettings();
  dict["max_split_size"] = static_cast<int64_t>(AcceleratorAllocatorConfig::max_split_size());
  dict["garbage_collection_threshold"] = AcceleratorAllocatorConfig::garbage_collection_threshold();
  dict["expandable_segments"] = AcceleratorAllocatorConfig::use_expandable_segments();
  const CudaSettings cuda = cuda_settings();
  dict["pinned_num_register_threads"] = cuda.pinned_num_register_threads;
  dict["release_lock_on_cudamalloc"] = cuda.release_lock_on_malloc;
  dict["pinned_use_cuda_host_register"] = cuda.pinned_use_host_register;
  dict["graph_capture_record_stream_reuse"] = cuda.graph_capture_record_stream_reuse;
  dict["roundup_power2_divisions"] = divisions;
  return dict;
}

/// None, or a pool's id with or without a third item that asks for traces.
struct Request {
  c10::MempoolId_t pool{0, 0};
  bool include_traces = true;
};

Request request(PyObject* argument) {
  if (argument == Py_None) {
    return {};
  }
  TORCH_CHECK(PyTuple_Check(argument), "Expected tuple or None");
  const Py_ssize_t size = PyTuple_GET_SIZE(argument);
  TORCH_CHECK(size == 2 || size == 3, "Expected tuple of size 2 or 3");
  PyObject* first = PyTuple_GET_ITEM(argument, 0);
  PyObject* second = PyTuple_GET_ITEM(argument, 1);
  TORCH_CHECK(THPUtils_checkLong(first) && THPUtils_checkLong(second), "mempool_id elements must be integers");
  TORCH_CHECK(size == 2 || PyBool_Check(PyTuple_GET_ITEM(argument, 2)), "include_traces must be a boolean");
  return {{THPUtils_unpackUInt64(first), THPUtils_unpackUInt64(second)},
          size == 2 || PyTuple_GET_ITEM(argument, 2) == Py_True};
}

PyObject* memory_snapshot(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  const Request wanted = request(argument);
  Frames frames;
  CachingAllocator::Traces recorded;
  // Before the segments: reading them is itself an entry of the trace.
  if (wanted.include_traces) {
    recorded = caching_allocator().traces();
  } else {
    recorded.devices.resize(static_cast<size_t>(device_count()));
  }
  const auto segment_infos = caching_allocator().snapshot(wanted.pool);
  py::list segments;
  for (const SegmentInfo& segment : segment_infos) {
    segments.append(segment_dict(segment, frames));
  }
  py::list traces;
  for (const auto& trace : recorded.devices) {
    py::list entries;
    for (const TraceEntry& entry : trace) {
      entries.append(entry_dict(entry, frames));
    }
    traces.append(entries);
  }
  py::list annotations;
  for (const Annotation& annotation : recorded.annotations) {
    annotations.append(annotation_dict(annotation));
  }
  py::dict result;
  if constexpr (versions::RecordsHistory<at::HostAllocator>) {
    result["host_segments"] = host_segments(frames);
    result["host_traces"] = wanted.include_traces ? host_traces(frames) : py::list();
  }
  frames.fill();
  result["segments"] = segments;
  result["device_traces"] = traces;
  result["allocator_settings"] = settings_dict();
  result["external_annotations"] = annotations;
  return result.release().ptr();
  END_HANDLE_TH_ERRORS
}

PyObject* allocation_traceback(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  const void* memory = PyLong_AsVoidPtr(argument);
  if (PyErr_Occurred() != nullptr) {
    return nullptr;
  }
  const Context context = caching_allocator().context_of(memory);
  if (context == nullptr) {
    Py_RETURN_NONE;
  }
  std::vector<torch::CapturedTraceback*> contexts{torch::getCapturedTracebackFromContext(context)};
  return torch::py_symbolize(contexts).at(0).release().ptr();
  END_HANDLE_TH_ERRORS
}

PyMethodDef snapshot_functions[] = {{"_cuda_memorySnapshot", memory_snapshot, METH_O, nullptr},
                                    {"_cuda_allocationTraceback", allocation_traceback, METH_O, nullptr},
                                    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_memory_snapshot(PyObject* torch_c) {
  if (PyModule_AddFunctions(torch_c, snapshot_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
