// python/Communication.cpp: torch._C's functions behind torch.cuda.comm.

#include "aten/Communication.h"

#include <torch/csrc/Stream.h>
#include <torch/csrc/utils/pybind.h>

#include "python/Bindings.h"

namespace torchdevice {
namespace {

/// A sequence of torch.cuda.Stream or None, as torch.cuda.comm passes it.
aten::OptionalStreams streams_argument(const std::optional<py::object>& sequence) {
  if (!sequence) {
    return std::nullopt;
  }
  std::vector<std::optional<c10::Stream>> streams;
  for (const py::handle item : *sequence) {
    TORCH_CHECK(item.is_none() || THPStream_Check(item.ptr()),
                "Unknown data type found in stream list. Need torch.cuda.Stream or None");
    if (item.is_none()) {
      streams.emplace_back(std::nullopt);
      continue;
    }
    const auto* stream = reinterpret_cast<const THPStream*>(item.ptr());
    streams.emplace_back(c10::Stream::unpack3(stream->stream_id, static_cast<c10::DeviceIndex>(stream->device_index),
                                              static_cast<c10::DeviceType>(stream->device_type)));
  }
  return streams;
}

aten::Tensors scatter(const at::Tensor& tensor, const std::vector<int64_t>& devices,
                      const std::optional<std::vector<int64_t>>& chunk_sizes, int64_t dim,
                      const std::optional<py::object>& streams) {
  const auto arguments = streams_argument(streams);
  const py::gil_scoped_release no_gil;
  return aten::scatter(tensor, devices, chunk_sizes, dim, arguments);
}

aten::Tensors scatter_out(const at::Tensor& tensor, aten::Tensors outputs, int64_t dim,
                          const std::optional<py::object>& streams) {
  const auto arguments = streams_argument(streams);
  const py::gil_scoped_release no_gil;
  return aten::scatter_out(tensor, outputs, dim, arguments);
}

aten::Tensors broadcast(const at::Tensor& tensor, const std::vector<int64_t>& devices) {
  return aten::broadcast(tensor, devices);
}

aten::Tensors broadcast_out(const at::Tensor& tensor, aten::Tensors outputs) {
  return aten::broadcast_out(tensor, outputs);
}

std::vector<aten::Tensors> broadcast_coalesced(const aten::Tensors& tensors, const std::vector<int64_t>& devices,
                                               size_t buffer_size) {
  return aten::broadcast_coalesced(tensors, devices, buffer_size);
}

at::Tensor gather(const aten::Tensors& tensors, int64_t dim, std::optional<int32_t> destination) {
  return aten::gather(tensors, dim, destination);
}

at::Tensor gather_out(const aten::Tensors& tensors, at::Tensor output, int64_t dim) {
  return aten::gather_out(tensors, output, dim);
}

}  // namespace

void add_communication(PyObject* torch_c) {
  auto m = py::handle(torch_c).cast<py::module>();
  using NoGil = py::call_guard<py::gil_scoped_release>;
  m.def("_broadcast_coalesced", broadcast_coalesced, NoGil(), py::arg("tensors"), py::arg("devices"),
        py::arg("buffer_size"));
  m.def("_broadcast", broadcast, NoGil(), py::arg("tensor"), py::arg("devices"));
  m.def("_broadcast_out", broadcast_out, NoGil(), py::arg("tensor"), py::arg("out"));
  m.def("_scatter", scatter, py::arg("tensor"), py::arg("devices"), py::arg("chunk_sizes"), py::arg("dim"),
        py::arg("streams"));
  m.def("_scatter_out", scatter_out, py::arg("tensor"), py::arg("out"), py::arg("dim"), py::arg("streams"));
  m.def("_gather", gather, NoGil(), py::arg("tensors"), py::arg("dim"), py::arg("destination_index"));
  m.def("_gather_out", gather_out, NoGil(), py::arg("tensors"), py::arg("out"), py::arg("dim"));
}

}  // namespace torchdevice
