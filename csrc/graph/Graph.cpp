// graph/Graph.cpp: torch.cuda.CUDAGraph: a capture, and what it recorded.

#include "graph/Graph.h"

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <fstream>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "allocator/CachingAllocator.h"
#include "allocator/CpuAllocator.h"
#include "graph/Recorder.h"
#include "runtime/Device.h"
#include "runtime/Observer.h"
#include "runtime/Stream.h"
#include "versions/Versions.h"

namespace torchdevice::graph {
namespace {

constinit std::atomic<bool> debug_mode{false};

std::mutex capturing_mutex;

std::unordered_map<CaptureId, std::weak_ptr<Graph>>& capturing_graphs() {
  static auto* const all = new std::unordered_map<CaptureId, std::weak_ptr<Graph>>();
  return *all;
}

/// A kernel that began before the capture may still be running: what it allocates is no part of the graph.
bool runs_unrecorded_kernel() {
  return forwarding_device() >= 0 && !c10::impl::tls_is_dispatch_key_excluded(kCaptureKey);
}

}  // namespace

Graph::~Graph() {
  try {
    discard();
  } catch (const std::exception& error) {
    TORCH_WARN("A torch.cuda.CUDAGraph ended with an error: ", error.what());
  }
  for (const auto& state : generators_) {
    state->remove_graph();
  }
}

void Graph::register_generator(const at::Generator& generator) {
  const std::lock_guard guard(mutex_);
  add_generator(generator);
}

void Graph::add_generator(const at::Generator& generator) {
  const auto& state = at::check_generator<CudaGenerator>(generator)->state();
  if (generators_.insert(state).second) {
    state->add_graph(generator.device().index());
  }
}

void Graph::capture_begin(c10::MempoolId_t pool, CaptureMode mode) {
  const std::lock_guard guard(mutex_);
  TORCH_CHECK(!instantiated_,
              "This CUDAGraph instance already owns a captured graph. To capture a new graph, create a new instance.");
  const c10::Stream stream = current_stream(current_device());
  TORCH_CHECK(
      stream.id() != 0,
      "CUDA graphs must be captured on a non-default stream. (However, after capture, it's ok to replay them on "
      "the default stream.)");
  TORCH_CHECK(pool.first == 0 || pool.second == 0, "Expected the id of a memory pool, of whose two numbers one is 0: ",
              "what torch.cuda.graph_pool_handle(), CUDAGraph.pool() or MemPool.id give, but got (", pool.first, ", ",
              pool.second, ")");
  discard();
  add_generator(default_cuda_generator(stream.device_index()));
  stream_ = stream;
  pool_ = pool != c10::MempoolId_t{0, 0} ? pool : graph_pool_handle(/*is_user_created=*/false);
  recording_ = std::make_shared<Recording>(stream.device_index(), pool_);
  // All is ready before the stream is captured: other threads may be at work on it.
  const CaptureId capture = new_capture();
  start_recording(capture, recording_);
  announce_capture(capture);
  try {
    caching_allocator().begin_allocate_to_pool(
        stream.device_index(), pool_, [capture, device = stream.device()](c10::StreamId id) {
          return !runs_unrecorded_kernel() && capture_of(c10::Stream(c10::Stream::UNSAFE, device, id)) == capture;
        });
  } catch (...) {
    forget_capture();
    recording_.reset();
    throw;
  }
  try {
    begin_capture(capture, stream, mode);
  } catch (...) {
    forget_capture();
    caching_allocator().end_allocate_to_pool(stream.device_index(), pool_);
    release_pools();
    recording_.reset();
    throw;
  }
}

void Graph::announce_capture(CaptureId capture) {
  capture_ = capture;
  for (const auto& state : generators_) {
    ++state->captures;
  }
  const std::lock_guard guard(capturing_mutex);
  capturing_graphs().emplace(capture, weak_from_this());
}

void Graph::forget_capture() {
  const CaptureId capture = std::exchange(capture_, 0);
  stop_recording(capture);
  tell_observer([capture](Observer& one) { one.capture_ended(capture); });
  for (const auto& state : generators_) {
    --state->captures;
  }
  const std::lock_guard guard(capturing_mutex);
  capturing_graphs().erase(capture);
}

CudaError Graph::leave_capture() {
  CudaError error = CudaError::kSuccess;
  bool was_routed = true;
  recording_->close([&] {
    error = end_capture(capture_);
    forget_capture();
    was_routed = caching_allocator().end_allocate_to_pool(stream_.device_index(), pool_);
  });
  TORCH_CHECK(was_routed, "endAllocatePool: not currently recording to mempool_id");
  return error;
}

void Graph::release_pools() {
  caching_allocator().release_pool(stream_.device_index(), pool_);
  for (const auto& pool : std::exchange(retained_pools_, {})) {
    caching_allocator().release_pool(stream_.device_index(), pool);
  }
}

void Graph::capture_end() {
  capture_end_pre();
  if (!keep_graph_) {
    instantiate();
  }
  capture_end_post();
}

void Graph::capture_end_pre() {
  const std::lock_guard guard(mutex_);
  TORCH_CHECK(current_stream(current_device()) == stream_, "Capture must end on the same stream it began on.");
  TORCH_CHECK(capture_ != 0, "capture_end() called before capture_begin().");
  check_capture_end(stream_);
  try {
    const CudaError error = leave_capture();
    if (error != CudaError::kSuccess) {
      throw_cuda_error(error, "end_capture");
    }
  } catch (...) {
    release_pools();
    recording_.reset();
    throw;
  }
  captured_ = inspectable_ = true;
  if (recording_->empty()) {
    TORCH_WARN(
        "The CUDA Graph is empty. This usually means that the graph was attempted to be captured on wrong device or "
        "stream.");
  }
}

void Graph::instantiate() {
  const std::lock_guard guard(mutex_);
  TORCH_CHECK(captured_, "capture_end() must have been called before calling instantiate");
  TORCH_CHECK(!instantiated_ || keep_graph_,
              "instantiate() is intended to be called by the user only when keep_graph=true");
  instantiated_ = true;
}

void Graph::capture_end_post() {
  const std::lock_guard guard(mutex_);
  inspectable_ = keep_graph_;
}

void Graph::replay() {
  const std::lock_guard guard(mutex_);
  TORCH_CHECK(captured_, "Called CUDAGraph::replay without a preceding successful capture.");
  assert_not_capturing("Cannot replay a CUDA graph");
  instantiated_ = true;
  recording_->replay();
}

void Graph::reset() {
  const std::lock_guard guard(mutex_);
  discard();
}

void Graph::discard() {
  if (capture_ != 0) {
    // The program gave up in the middle of a capture.
    captured_ = true;
    leave_capture();
  }
  if (std::exchange(captured_, false)) {
    release_pools();
  }
  recording_.reset();
  instantiated_ = inspectable_ = false;
}

c10::MempoolId_t Graph::pool() const {
  const std::lock_guard guard(mutex_);
  TORCH_CHECK(captured_, "Called CUDAGraph::pool() without a preceding successful capture.");
  return pool_;
}

std::vector<c10::MempoolId_t> Graph::pools() const {
  const std::lock_guard guard(mutex_);
  TORCH_CHECK(captured_, "Called CUDAGraph::pools() without a preceding successful capture.");
  std::vector<c10::MempoolId_t> all{pool_};
  all.insert(all.end(), retained_pools_.begin(), retained_pools_.end());
  return all;
}

void Graph::retain_pool(c10::MempoolId_t pool) {
  const std::lock_guard guard(mutex_);
  TORCH_CHECK(capture_ != 0, "CUDAGraph::retain_pool may only be called during capture.");
  TORCH_CHECK(pool != (c10::MempoolId_t{0, 0}), "CUDAGraph::retain_pool expected a non-default memory pool.");
  if (pool == pool_ || std::ranges::find(retained_pools_, pool) != retained_pools_.end()) {
    return;
  }
  caching_allocator().create_pool(stream_.device_index(), pool, /*splits=*/true, /*source=*/nullptr);
  retained_pools_.push_back(pool);
}

void Graph::enable_debug_mode() {
  const std::lock_guard guard(mutex_);
  if constexpr (versions::kDebugModeKeepsGraph) {
    keep_graph_ = true;
  } else {
    debug_mode = true;
  }
}

void Graph::debug_dump(const std::string& path) {
  const std::lock_guard guard(mutex_);
  if constexpr (versions::kDebugModeKeepsGraph) {
    TORCH_CHECK(inspectable_,
                "No cudaGraph_t is available: either capture_end() has not been called, or the underlying cudaGraph_t "
                "was destroyed (keep_graph=false, and capture has been finalized).");
    std::ofstream file(path);
    recording_->write_dot(file);
    return;
  }
  if (!debug_mode && !keep_graph_) {
    TORCH_WARN("CUDA Graphs debug not enabled, set with [graph].enable_debug_mode()");
    return;
  }
  TORCH_WARN("DEBUG: calling debug_dump()");
  if (captured_) {
    TORCH_WARN("DEBUG: calling cudaGraphDebugDotPrint() with ", path);
    std::ofstream file(path);
    recording_->write_dot(file);
  }
}

std::shared_ptr<Graph> Graph::currently_capturing() {
  const CaptureId capture = current_capture(current_device());
  TORCH_CHECK(capture != 0, "The current stream is not currently capturing.");
  const std::lock_guard guard(capturing_mutex);
  const auto known = capturing_graphs().find(capture);
  auto graph = known != capturing_graphs().end() ? known->second.lock() : nullptr;
  TORCH_CHECK(
      graph != nullptr,
      "get_currently_capturing_graph() can be used only between capture_begin() and capture_end(). Did you use a "
      "stream without making it depend upon the original stream used for capture?");
  return graph;
}

}  // namespace torchdevice::graph
