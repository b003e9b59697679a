// dry/DataDependent.cpp: operators whose results are as large as the data say.

#include "dry/DataDependent.h"

#include <ATen/ExpandUtils.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <unordered_map>

#include "dry/HostReads.h"
#include "dry/Kernel.h"
#include "forward/checks/HostSync.h"

namespace torchdevice::dry {
namespace {

at::Tensor meta(at::IntArrayRef sizes, at::ScalarType dtype) {
  return at::empty(sizes, at::TensorOptions(c10::kMeta).dtype(dtype));
}

using Arguments = c10::ArrayRef<c10::IValue>;

/// The results of one operator without data, as large as they can be.
using Estimate = torch::jit::Stack (*)(Arguments arguments);

torch::jit::Stack nonzero(Arguments arguments) {
  const at::Tensor& self = arguments[0].toTensor();
  return {meta({self.numel(), self.dim()}, at::kLong)};
}

torch::jit::Stack masked_select(Arguments arguments) {
  const at::Tensor& self = arguments[0].toTensor();
  const auto sizes = at::infer_size(self.sizes(), arguments[1].toTensor().sizes());
  return {meta({c10::multiply_integers(sizes)}, self.scalar_type())};
}

/// unique's results: values, the place of each element among them, and how often each is there.
torch::jit::Stack unique_of(const at::Tensor& self, at::IntArrayRef values, bool inverse, bool counts,
                            at::IntArrayRef inverse_sizes, int64_t length) {
  return {meta(values, self.scalar_type()), inverse ? meta(inverse_sizes, at::kLong) : meta({0}, at::kLong),
          counts ? meta({length}, at::kLong) : meta({0}, at::kLong)};
}

torch::jit::Stack unique(Arguments arguments) {
  const at::Tensor& self = arguments[0].toTensor();
  return unique_of(self, {self.numel()}, arguments[2].toBool(), arguments[3].toBool(), self.sizes(), self.numel());
}

torch::jit::Stack unique_of_dim(const at::Tensor& self, int64_t dim, bool inverse, bool counts) {
  const int64_t length = self.size(dim);
  return unique_of(self, self.sizes(), inverse, counts, {length}, length);
}

torch::jit::Stack unique_dim(Arguments arguments) {
  return unique_of_dim(arguments[0].toTensor(), arguments[1].toInt(), arguments[3].toBool(), arguments[4].toBool());
}

torch::jit::Stack unique_consecutive(Arguments arguments) {
  const at::Tensor& self = arguments[0].toTensor();
  const bool inverse = arguments[1].toBool();
  const bool counts = arguments[2].toBool();
  if (!arguments[3].isNone()) {
    return unique_of_dim(self, arguments[3].toInt(), inverse, counts);
  }
  return unique_of(self, {self.numel()}, inverse, counts, self.sizes(), self.numel());
}

torch::jit::Stack unique_dim_consecutive(Arguments arguments) {
  return unique_of_dim(arguments[0].toTensor(), arguments[1].toInt(), arguments[2].toBool(), arguments[3].toBool());
}

/// Each element once, unless the program says how many there are.
torch::jit::Stack repeat_interleave(Arguments arguments) {
  const at::Tensor& repeats = arguments[0].toTensor();
  return {meta({arguments[1].isNone() ? repeats.numel() : arguments[1].toInt()}, repeats.scalar_type())};
}

/// As many bins as elements, and not fewer than the program asks for.
torch::jit::Stack bincount(Arguments arguments) {
  const at::Tensor& self = arguments[0].toTensor();
  const bool weighted = !arguments[1].isNone() && arguments[1].toTensor().defined();
  const at::ScalarType dtype = !weighted                                             ? at::kLong
                               : arguments[1].toTensor().scalar_type() == at::kFloat ? at::kFloat
                                                                                     : at::kDouble;
  return {meta({std::max(self.numel(), arguments[2].toInt())}, dtype)};
}

template <Estimate estimate>
void run_estimated(const c10::OperatorHandle& op, c10::DispatchKeySet /*keys*/, torch::jit::Stack* stack) {
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  if (arguments[0].toTensor().is_cuda()) {
    forward::wait_for_device_of(arguments[0].toTensor());
  }
  note_read(op.operator_name().name.c_str());
  run_with(op, stack, Call(op.schema(), arguments), estimate(arguments));
}

bool is_mask(const at::Tensor& index) { return index.scalar_type() == at::kBool || index.scalar_type() == at::kByte; }

/// The positions that a mask leads to, were all of it true; made on the device, as torch's kernel does.
c10::List<std::optional<at::Tensor>> without_masks(const std::vector<std::optional<at::Tensor>>& indices) {
  c10::List<std::optional<at::Tensor>> positions;
  for (const std::optional<at::Tensor>& index : indices) {
    if (!index.has_value() || !index->defined() || !is_mask(*index)) {
      positions.push_back(index);
      continue;
    }
    for (const at::Tensor& column : index->nonzero().unbind(1)) {
      positions.push_back(column);
    }
  }
  return positions;
}

/// Indexing: masks become positions, which is where their size is estimated.
void run_indexing(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const size_t size = op.schema().arguments().size();
  const c10::IValue& indices = torch::jit::peek(*stack, 1, size);
  const auto tensors = indices.toOptionalTensorVector();
  if (std::ranges::any_of(tensors,
                          [](const auto& one) { return one.has_value() && one->defined() && is_mask(*one); })) {
    torch::jit::peek(*stack, 1, size) = without_masks(tensors);
  }
  run(op, keys, stack);
}

}  // namespace

std::optional<c10::KernelFunction> data_dependent_kernel(const c10::OperatorName& name) {
  static const std::unordered_map<std::string, c10::KernelFunction (*)()> kernels{
      {"aten::nonzero", &boxed<&run_estimated<&nonzero>>},
      {"aten::masked_select", &boxed<&run_estimated<&masked_select>>},
      {"aten::_unique2", &boxed<&run_estimated<&unique>>},
      {"aten::unique_dim", &boxed<&run_estimated<&unique_dim>>},
      {"aten::unique_consecutive", &boxed<&run_estimated<&unique_consecutive>>},
      {"aten::unique_dim_consecutive", &boxed<&run_estimated<&unique_dim_consecutive>>},
      {"aten::repeat_interleave.Tensor", &boxed<&run_estimated<&repeat_interleave>>},
      {"aten::bincount", &boxed<&run_estimated<&bincount>>},
      {"aten::index.Tensor", &boxed<&run_indexing>},
      {"aten::index_put", &boxed<&run_indexing>},
      {"aten::index_put_", &boxed<&run_indexing>},
      {"aten::_index_put_impl_", &boxed<&run_indexing>},
  };
  const auto known = kernels.find(c10::toString(name));
  return known != kernels.end() ? std::optional(known->second()) : std::nullopt;
}

}  // namespace torchdevice::dry
