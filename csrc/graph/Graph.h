// graph/Graph.h: torch.cuda.CUDAGraph: a capture, and what it recorded.

#pragma once

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Stream.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "graph/Recording.h"
#include "runtime/Capture.h"
#include "runtime/Generator.h"

namespace torchdevice::graph {

/// Methods, their order and their errors are those of at::cuda::CUDAGraph (aten/src/ATen/cuda/CUDAGraph.cpp). Held by
/// shared_ptr. Threads may share one: a method waits for the one that runs. None is called with Python's lock, which
/// that one's operators may want, and so is the destructor of a graph in the middle of its capture.
class Graph : public std::enable_shared_from_this<Graph> {
 public:
  explicit Graph(bool keep_graph) : keep_graph_(keep_graph) {}
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Captures may draw from the state that `generator` has now; from the default generator's they may anyway.
  void register_generator(const at::Generator& generator);
  /// `pool`: a private pool to share, or {0, 0} for one of its own.
  void capture_begin(c10::MempoolId_t pool, CaptureMode mode);
  /// The three in turn; since 2.14 torch's Python calls them itself. From the first to the last the graph can be looked
  /// at, and later if it is kept.
  void capture_end();
  void capture_end_pre();
  void instantiate();
  void capture_end_post();
  bool instantiated() const { return instantiated_; }
  void replay();
  void reset();
  c10::MempoolId_t pool() const;
  /// That pool, and those of retain_pool.
  std::vector<c10::MempoolId_t> pools() const;
  /// During the capture: the graph is one more user of that pool, until it is reset.
  void retain_pool(c10::MempoolId_t pool);

  void enable_debug_mode();
  void debug_dump(const std::string& path);

  /// The graph that the current stream's capture goes into.
  static std::shared_ptr<Graph> currently_capturing();

 private:
  // All of these need mutex_ to be held.
  void add_generator(const at::Generator& generator);
  /// From here on others find this graph by its capture, until that is forgotten.
  void announce_capture(CaptureId capture);
  void forget_capture();
  /// The capture ends; what cudaStreamEndCapture would return. Throws, afterwards, if the program has ended the route
  /// to the pool.
  CudaError leave_capture();
  /// As reset().
  void discard();
  void release_pools();

  mutable std::mutex mutex_;
  bool keep_graph_;
  bool captured_ = false;
  bool inspectable_ = false;
  std::atomic<bool> instantiated_ = false;
  CaptureId capture_ = 0;
  c10::MempoolId_t pool_{0, 0};
  std::vector<c10::MempoolId_t> retained_pools_;
  c10::Stream stream_{c10::Stream::DEFAULT, c10::Device(c10::kCUDA, 0)};
  std::shared_ptr<Recording> recording_;
  std::set<c10::intrusive_ptr<GeneratorState>> generators_;
};

/// AcceleratorGraph.cpp: makes torch.accelerator.Graph one of these. Once, at activation.
void install_accelerator_graph();

}  // namespace torchdevice::graph
