// graph/AcceleratorGraph.cpp: torch.accelerator.Graph on CUDA.

#include <ATen/core/GraphImplInterface.h>

#include <memory>

#include "graph/Graph.h"

namespace torchdevice::graph {
namespace {

CaptureMode capture_mode(at::GraphCaptureMode mode) {
  switch (mode) {
    case at::GraphCaptureMode::ThreadLocal:
      return CaptureMode::kThreadLocal;
    case at::GraphCaptureMode::Relaxed:
      return CaptureMode::kRelaxed;
    default:
      return CaptureMode::kGlobal;
  }
}

class AcceleratorGraph final : public at::GraphImplInterface {
 public:
  explicit AcceleratorGraph(const at::GraphImplArgs& args) : graph_(std::make_shared<Graph>(args.keep_graph)) {}

  void capture_begin(c10::MempoolId_t pool, at::GraphCaptureMode mode) override {
    graph_->capture_begin(pool, capture_mode(mode));
  }
  void capture_end() override { graph_->capture_end(); }
  void instantiate() override { graph_->instantiate(); }
  void replay() override { graph_->replay(); }
  void reset() override { graph_->reset(); }
  c10::MempoolId_t pool() const override { return graph_->pool(); }
  void enable_debug_mode() override { graph_->enable_debug_mode(); }
  void debug_dump(const std::string& path) override { graph_->debug_dump(path); }

 private:
  const std::shared_ptr<Graph> graph_;
};

}  // namespace

void install_accelerator_graph() {
  const auto make = [](at::GraphImplArgs args) -> std::unique_ptr<at::GraphImplInterface> {
    return std::make_unique<AcceleratorGraph>(args);
  };
  at::GraphImplRegistry()->Register("CUDA", make, c10::REGISTRY_PREFERRED);  // above a CUDA build's own
}

}  // namespace torchdevice::graph
