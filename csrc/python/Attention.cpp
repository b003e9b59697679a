// python/Attention.cpp: what torch.backends.cuda answers about attention kernels; in a CPU build of torch always no.

#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>

#include "aten/SdpBackends.h"
#include "python/Bindings.h"

namespace torchdevice {
namespace {

/// torch._C._SDPAParams by its attributes: its C++ type is private to torch's own extension module.
sdp::sdp_params attention_params(const py::object& params) {
  return {params.attr("query").cast<at::Tensor>(), params.attr("key").cast<at::Tensor>(),
          params.attr("value").cast<at::Tensor>(), params.attr("attn_mask").cast<std::optional<at::Tensor>>(),
          params.attr("dropout").cast<double>(),   params.attr("is_causal").cast<bool>(),
          params.attr("enable_gqa").cast<bool>()};
}

template <sdp::SDPBackend backend>
bool can_use_attention(const py::object& params, bool debug) {
  return aten::can_use(backend, attention_params(params), debug);
}

}  // namespace

void add_attention_patch(PyObject* torchdevice_c) {
  auto m = py::reinterpret_borrow<py::module_>(torchdevice_c);
  m.def("can_use_flash_attention", &can_use_attention<sdp::SDPBackend::flash_attention>);
  m.def("can_use_mem_efficient_attention", &can_use_attention<sdp::SDPBackend::efficient_attention>);
  m.def("can_use_cudnn_attention", &can_use_attention<sdp::SDPBackend::cudnn_attention>);
}

}  // namespace torchdevice
