// python/Graphs.cpp: torch._C._CUDAGraph and the functions of CUDA graphs.

#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "allocator/CachingAllocator.h"
#include "graph/Graph.h"
#include "python/Bindings.h"

namespace torchdevice {
namespace {

using graph::Graph;

CaptureMode capture_mode(const std::string& name) {
  if (name == "global") {
    return CaptureMode::kGlobal;
  }
  if (name == "thread_local") {
    return CaptureMode::kThreadLocal;
  }
  TORCH_CHECK(name == "relaxed", "Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, got ",
              name);
  return CaptureMode::kRelaxed;
}

[[noreturn]] void no_handle(const char* method) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "torch.cuda.CUDAGraph.", method,
                              "(): torchdevice replays a graph operator by operator and has no cudaGraph_t that CUDA's "
                              "own functions could use; debug_dump() writes the operators of a graph to a file.");
}

[[noreturn]] void no_conditional_nodes() {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false,
      "torch.cuda.CUDAGraph: torchdevice has no conditional nodes, as the operators of a branch "
      "are recorded only by running them; capture each branch into a graph of its own and "
      "choose which one to replay.");
}

/// Without the GIL: in the middle of a capture the end waits for other threads' operators, which may want it.
void end_graph(Graph* graph) {
  const py::gil_scoped_release no_gil;
  delete graph;
}

}  // namespace

void add_graphs(PyObject* torch_c) {
  auto module = py::reinterpret_borrow<py::module_>(torch_c);
  const py::call_guard<py::gil_scoped_release> no_gil;
  py::class_<Graph, std::shared_ptr<Graph>>(module, "_CUDAGraph")
      .def(py::init([](bool keep_graph) { return std::shared_ptr<Graph>(new Graph(keep_graph), &end_graph); }),
           py::arg("keep_graph") = false)
      .def(
          "capture_begin",
          [](Graph& self, std::optional<c10::MempoolId_t> pool, const std::string& mode) {
            const CaptureMode known_mode = capture_mode(mode);
            const py::gil_scoped_release released;
            self.capture_begin(pool.value_or(c10::MempoolId_t{0, 0}), known_mode);
          },
          py::arg("pool"), py::arg("capture_error_mode") = "global")
      .def("capture_end", torch::wrap_pybind_function_no_gil(&Graph::capture_end))
      .def("capture_end_pre", torch::wrap_pybind_function_no_gil(&Graph::capture_end_pre))
      .def("capture_end_post", &Graph::capture_end_post, no_gil)
      .def("instantiate", &Graph::instantiate, no_gil)
      .def_property_readonly("_has_graph_exec", &Graph::instantiated)
      .def("register_generator_state", &Graph::register_generator, py::arg("Generator"), no_gil)
      .def("replay", &Graph::replay, no_gil)
      .def("reset", &Graph::reset, no_gil)
      .def("pool", &Graph::pool, no_gil)
      .def("pools", &Graph::pools, no_gil)
      .def("_retain_pool", &Graph::retain_pool, py::arg("pool"), no_gil)
      .def("enable_debug_mode", &Graph::enable_debug_mode, no_gil)
      .def("debug_dump", torch::wrap_pybind_function_no_gil(&Graph::debug_dump), py::arg("debug_path"))
      .def("raw_cuda_graph", [](Graph&) { no_handle("raw_cuda_graph"); })
      .def("raw_cuda_graph_exec", [](Graph&) { no_handle("raw_cuda_graph_exec"); })
      .def_static("get_currently_capturing_graph", &Graph::currently_capturing, no_gil)
      .def(
          "begin_capture_to_if_node", [](Graph&, const at::Tensor& /*predicate*/) { no_conditional_nodes(); },
          py::arg("scalar_cuda_pred_tensor"))
      .def(
          "begin_capture_to_while_node", [](Graph&, const at::Tensor& /*predicate*/) { no_conditional_nodes(); },
          py::arg("scalar_cuda_pred_tensor"))
      .def(
          "set_conditional_handle_for_current_node",
          [](Graph&, const at::Tensor& /*predicate*/) { no_conditional_nodes(); }, py::arg("scalar_cuda_pred_tensor"))
      .def("end_capture_to_conditional_node", [](Graph&) { no_conditional_nodes(); });
  module.def("_graph_pool_handle", [] { return graph_pool_handle(); });
}

}  // namespace torchdevice
