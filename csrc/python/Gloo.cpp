// python/Gloo.cpp: the methods of torch's ProcessGroupGloo on CUDA tensors. Calls on the object itself go past c10d's
// operators (distributed/Collectives.cpp), and gloo crashes on memory of a device that it was not built for.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <unordered_map>

#include "distributed/CudaWork.h"
#include "python/Bindings.h"

namespace torchdevice {
namespace {

using distributed::CudaWork;
using distributed::Tensors;

/// The tensors of one call; CUDA's are replaced by native ones over the same memory.
class NativeArguments {
 public:
  py::object map(const py::handle& value) {
    if (THPVariable_Check(value.ptr())) {
      return map(THPVariable_Unpack(value.ptr()), value);
    }
    if (!py::isinstance<py::list>(value) && !py::isinstance<py::tuple>(value)) {
      return py::reinterpret_borrow<py::object>(value);
    }
    py::list mapped;
    for (const py::handle& item : value) {
      mapped.append(map(item));
    }
    return mapped;
  }

  bool has_cuda_tensors() const { return !natives_.empty(); }

 private:
  py::object map(const at::Tensor& tensor, const py::handle& value) {
    if (!tensor.is_cuda()) {
      return py::reinterpret_borrow<py::object>(value);
    }
    at::Tensor& native = natives_[tensor.unsafeGetTensorImpl()];
    if (!native.defined()) {
      native = distributed::native_tensor(tensor);
    }
    return py::cast(native);
  }

  std::unordered_map<const c10::TensorImpl*, at::Tensor> natives_;
};

/// A tensor or lists of tensors as the value of a future.
c10::IValue future_value(const py::handle& written) {
  if (THPVariable_Check(written.ptr())) {
    return Tensors{THPVariable_Unpack(written.ptr())};
  }
  const auto items = written.cast<py::list>();
  if (items.empty() || THPVariable_Check(items[0].ptr())) {
    return items.cast<Tensors>();
  }
  c10::impl::GenericList lists(c10::ListType::ofTensors());
  for (const py::handle& item : items) {
    lists.push_back(item.cast<Tensors>());
  }
  return lists;
}

/// `method` for tensors of both kinds. What a collective writes is the first argument after `self`.
py::cpp_function on_both_devices(const char* name, const py::object& method, const py::object& owner) {
  const auto call = [method](const py::object& self, const py::args& arguments,
                             const py::kwargs& keywords) -> py::object {
    NativeArguments natives;
    const py::tuple native_arguments = natives.map(arguments);
    py::dict native_keywords;
    for (const auto& [keyword, value] : keywords) {
      native_keywords[keyword] = natives.map(value);
    }
    if (!natives.has_cuda_tensors()) {
      return method(self, *arguments, **keywords);
    }
    const py::handle written = arguments.empty() ? (*keywords.begin()).second : py::handle(arguments[0]);
    const auto work = method(self, *native_arguments, **native_keywords).cast<c10::intrusive_ptr<c10d::Work>>();
    return py::cast(c10::intrusive_ptr<c10d::Work>(
        c10::make_intrusive<CudaWork>(CudaWork::Parts{work}, future_value(written), /*rank=*/-1, work->retrieveOpType(),
                                      /*sequence_number=*/0, distributed::Failures::kAsTheyAre)));
  };
  return {call, py::name(name), py::is_method(owner)};
}

py::dict gloo_methods() {
  const py::object gloo = py::module_::import("torch._C._distributed_c10d").attr("ProcessGroupGloo");
  py::dict methods;
  for (const char* name : {"allgather", "_allgather_base", "allgather_coalesced", "allreduce", "allreduce_coalesced",
                           "alltoall", "alltoall_base", "broadcast", "gather", "recv", "recv_anysource", "reduce",
                           "reduce_scatter", "_reduce_scatter_base", "scatter", "send"}) {
    methods[name] = on_both_devices(name, gloo.attr(name), gloo);
  }
  return methods;
}

}  // namespace

void add_gloo_patch(PyObject* torchdevice_c) {
  py::reinterpret_borrow<py::module_>(torchdevice_c).def("gloo_methods", &gloo_methods);
}

}  // namespace torchdevice
