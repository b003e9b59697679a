// python/Nccl.cpp: torch._C's functions of torch.cuda.nccl: collectives between the devices of one process.

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils.h>
#include <torch/csrc/utils/object_ptr.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "python/Bindings.h"
#include "runtime/DeviceProfile.h"

namespace torchdevice {
namespace {

using Tensors = std::vector<at::Tensor>;

/// ncclRedOp_t
enum class ReduceOp : int { kSum = 0, kProd = 1, kMax = 2, kMin = 3, kAvg = 4 };

constexpr size_t kUniqueIdBytes = 128;

Tensors extract_tensors(PyObject* argument) {
  const THPObjectPtr sequence(PySequence_Fast(argument, "expected a sequence"));
  if (!sequence) {
    throw python_error();
  }
  Tensors tensors;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence.get()); ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(sequence.get(), i);
    TORCH_CHECK_TYPE(THPVariable_Check(item), "expected Tensor at ", i, " (got ", THPUtils_typename(item), ")");
    tensors.push_back(THPVariable_Unpack(item));
  }
  return tensors;
}

/// Streams have no queues here, so only their number can be wrong. No communicator was ever made.
void check_streams_and_comms(PyObject* streams, PyObject* comms, size_t inputs) {
  TORCH_CHECK(streams == Py_None || PySequence_Size(streams) == static_cast<Py_ssize_t>(inputs),
              "number of streams is not equal to number of inputs");
  TORCH_CHECK(comms == Py_None || PySequence_Size(comms) == static_cast<Py_ssize_t>(inputs),
              "number of communicators is not equal to number of inputs");
}

void check_tensor(const at::Tensor& tensor, const at::Tensor& first) {
  TORCH_CHECK(tensor.is_cuda() && !tensor.is_sparse(), "input and output elements have to be cuda dense Tensors");
  TORCH_CHECK(tensor.scalar_type() == first.scalar_type(), "all inputs and outputs must be of the same Tensor dtype");
  TORCH_CHECK(tensor.is_contiguous(), "all inputs and outputs have to be contiguous");
}

void check_inputs(const Tensors& inputs) {
  TORCH_CHECK(!inputs.empty(), "input sequence can't be empty");
  std::set<c10::DeviceIndex> devices;
  for (const auto& input : inputs) {
    check_tensor(input, inputs[0]);
    TORCH_CHECK(input.numel() == inputs[0].numel(), "all inputs must have the same number of elements");
    TORCH_CHECK(devices.insert(input.get_device()).second, "inputs must be on unique devices");
  }
}

/// As NCCL wants them: an output `output_parts` times as large as an input is `input_parts` times as large.
void check(const Tensors& inputs, const Tensors& outputs, size_t input_parts, size_t output_parts) {
  check_inputs(inputs);
  TORCH_CHECK(outputs.size() == inputs.size(),
              "inputs and outputs sequences have to be of the same length, but got input of length ", inputs.size(),
              " and output of length ", outputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    check_tensor(outputs[i], inputs[0]);
    TORCH_CHECK(outputs[i].get_device() == inputs[i].get_device(), "input and output must be on the same device");
    TORCH_CHECK(outputs[i].numel() * static_cast<int64_t>(output_parts) ==
                    inputs[0].numel() * static_cast<int64_t>(input_parts),
                "output must be of size input_size * size_multiplier");
  }
}

/// All inputs combined, as a flat tensor on the device of `like`.
at::Tensor combine(const Tensors& inputs, int op, const at::Tensor& like) {
  TORCH_CHECK(op >= 0 && op <= static_cast<int>(ReduceOp::kAvg), "NCCL Error 4: invalid argument");
  auto result = at::empty({inputs[0].numel()}, like.options());
  result.copy_(inputs[0].view(-1));
  for (size_t i = 1; i < inputs.size(); ++i) {
    const auto other = inputs[i].view(-1).to(like.device());
    switch (static_cast<ReduceOp>(op)) {
      case ReduceOp::kProd:
        result.mul_(other);
        break;
      case ReduceOp::kMax:
        result = at::maximum(result, other);
        break;
      case ReduceOp::kMin:
        result = at::minimum(result, other);
        break;
      default:
        result.add_(other);
    }
  }
  if (static_cast<ReduceOp>(op) == ReduceOp::kAvg) {
    const auto rounding = at::isFloatingType(result.scalar_type()) || at::isComplexType(result.scalar_type())
                              ? std::nullopt
                              : std::optional<std::string_view>("trunc");
    result.div_(static_cast<int64_t>(inputs.size()), rounding);
  }
  return result;
}

/// Runs `collective` without the GIL and below autograd, which NCCL knows nothing of.
template <class Collective>
PyObject* run(const Collective& collective) {
  {
    const py::gil_scoped_release no_gil;
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    collective();
  }
  Py_RETURN_NONE;
}

/// What all_reduce and reduce_scatter take.
struct Reduction {
  Tensors inputs;
  Tensors outputs;
  int op;
};

Reduction parse_reduction(PyObject* arguments) {
  PyObject *in = nullptr, *out = nullptr, *streams = nullptr, *comms = nullptr;
  int op = 0;
  if (!PyArg_ParseTuple(arguments, "OOiOO", &in, &out, &op, &streams, &comms)) {
    throw python_error();
  }
  Reduction reduction{extract_tensors(in), extract_tensors(out), op};
  check_streams_and_comms(streams, comms, reduction.inputs.size());
  return reduction;
}

PyObject* all_reduce(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  const Reduction call = parse_reduction(arguments);
  return run([&] {
    check(call.inputs, call.outputs, 1, 1);
    const auto result = combine(call.inputs, call.op, call.inputs[0]);
    for (const auto& output : call.outputs) {
      output.view(-1).copy_(result);
    }
  });
  END_HANDLE_TH_ERRORS
}

PyObject* reduce(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  PyObject *in = nullptr, *out = nullptr, *streams = nullptr, *comms = nullptr;
  int root = 0;
  int op = 0;
  if (!PyArg_ParseTuple(arguments, "OOiiOO", &in, &out, &root, &op, &streams, &comms)) {
    throw python_error();
  }
  const auto inputs = extract_tensors(in);
  TORCH_CHECK_TYPE(THPVariable_Check(out), "expected Tensor for output (got ", THPUtils_typename(out), ")");
  const auto output = THPVariable_Unpack(out);
  check_streams_and_comms(streams, comms, inputs.size());
  TORCH_CHECK(root >= 0 && static_cast<size_t>(root) < inputs.size(), "invalid root");
  return run([&] {
    check_inputs(inputs);
    check({inputs[root]}, {output}, 1, 1);
    output.view(-1).copy_(combine(inputs, op, output));
  });
  END_HANDLE_TH_ERRORS
}

PyObject* broadcast(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  PyObject *in = nullptr, *streams = nullptr, *comms = nullptr;
  int root = 0;
  if (!PyArg_ParseTuple(arguments, "OiOO", &in, &root, &streams, &comms)) {
    throw python_error();
  }
  const auto inputs = extract_tensors(in);
  TORCH_CHECK(root >= 0 && static_cast<size_t>(root) < inputs.size(), "invalid root");
  check_streams_and_comms(streams, comms, inputs.size());
  return run([&] {
    check_inputs(inputs);
    for (const auto& input : inputs) {
      if (!input.is_same(inputs[root])) {
        input.view(-1).copy_(inputs[root].view(-1));
      }
    }
  });
  END_HANDLE_TH_ERRORS
}

PyObject* all_gather(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  PyObject *in = nullptr, *out = nullptr, *streams = nullptr, *comms = nullptr;
  if (!PyArg_ParseTuple(arguments, "OOOO", &in, &out, &streams, &comms)) {
    throw python_error();
  }
  const auto inputs = extract_tensors(in);
  const auto outputs = extract_tensors(out);
  check_streams_and_comms(streams, comms, inputs.size());
  return run([&] {
    check(inputs, outputs, inputs.size(), 1);
    for (const auto& output : outputs) {
      const auto parts = output.view({static_cast<int64_t>(inputs.size()), -1});
      for (size_t i = 0; i < inputs.size(); ++i) {
        parts[static_cast<int64_t>(i)].copy_(inputs[i].view(-1));
      }
    }
  });
  END_HANDLE_TH_ERRORS
}

PyObject* reduce_scatter(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  const Reduction call = parse_reduction(arguments);
  const Tensors& inputs = call.inputs;
  const Tensors& outputs = call.outputs;
  return run([&] {
    check(inputs, outputs, 1, inputs.size());
    const auto parts = combine(inputs, call.op, inputs[0]).view({static_cast<int64_t>(inputs.size()), -1});
    for (size_t i = 0; i < outputs.size(); ++i) {
      outputs[i].view(-1).copy_(parts[static_cast<int64_t>(i)]);
    }
  });
  END_HANDLE_TH_ERRORS
}

PyObject* version(PyObject* /*self*/, PyObject* /*none*/) {
  const auto& [major, minor, patch] = cuda_release().nccl;
  return PyLong_FromUnsignedLongLong(uint64_t(major) << 32U | uint64_t(minor) << 16U | uint64_t(patch));
}

PyObject* version_suffix(PyObject* /*self*/, PyObject* /*none*/) { return PyBytes_FromString(""); }

PyObject* unique_id(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  std::random_device source;
  std::array<char, kUniqueIdBytes> id{};
  for (auto& byte : id) {
    byte = static_cast<char>(source());
  }
  return PyBytes_FromStringAndSize(id.data(), id.size());
  END_HANDLE_TH_ERRORS
}

PyObject* init_rank(PyObject* /*self*/, PyObject* /*arguments*/) {
  HANDLE_TH_ERRORS
  TORCH_CHECK_NOT_IMPLEMENTED(
      false,
      "torch.cuda.nccl.init_rank(): torchdevice has no NCCL, so there is no communicator between processes; use "
      "torch.distributed, or torch.cuda.nccl's functions without `comms` between the devices of one process.");
  END_HANDLE_TH_ERRORS
}

PyMethodDef nccl_functions[] = {{"_nccl_all_reduce", all_reduce, METH_VARARGS, nullptr},
                                {"_nccl_reduce", reduce, METH_VARARGS, nullptr},
                                {"_nccl_broadcast", broadcast, METH_VARARGS, nullptr},
                                {"_nccl_all_gather", all_gather, METH_VARARGS, nullptr},
                                {"_nccl_reduce_scatter", reduce_scatter, METH_VARARGS, nullptr},
                                {"_nccl_version", version, METH_NOARGS, nullptr},
                                {"_nccl_version_suffix", version_suffix, METH_NOARGS, nullptr},
                                {"_nccl_unique_id", unique_id, METH_NOARGS, nullptr},
                                {"_nccl_init_rank", init_rank, METH_VARARGS, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_nccl(PyObject* torch_c) {
  if (PyModule_AddFunctions(torch_c, nccl_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
