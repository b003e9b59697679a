// native/mps/Forms.cpp: calls in the form that MPS gets right: arguments that lie as in a fresh tensor, results that
// are its own.

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/native/Resize.h>

#include <string>
#include <unordered_map>

#include "native/mps/KnownWrong.h"

namespace torchdevice {
namespace {

at::Tensor laid_out(const at::Tensor& tensor, at::MemoryFormat format) {
  at::Tensor plain = tensor.resolve_conj().resolve_neg().contiguous(format);
  return plain.storage_offset() == 0 ? plain : plain.clone(format);
}

template <class Format>
void lay_out(DoubtfulCall& call, const Format& format_of) {
  auto& stack = call.stack();
  const auto& formals = call.op().schema().arguments();
  for (size_t i = 0; i < stack.size(); ++i) {
    const at::Tensor tensor = tensor_argument(call, i);
    // Running statistics are written to, also where the schema does not say so.
    const bool is_written = (formals[i].alias_info() != nullptr && formals[i].alias_info()->isWrite()) ||
                            formals[i].name().starts_with("running_");
    if (tensor.defined() && !is_written && tensor.layout() == at::kStrided) {
      stack[i] = laid_out(tensor, format_of(tensor));
    }
  }
  call.go_on();
}

/// The forms without out= where their overload has another name than the empty one.
const std::string& functional_overload(const std::string& name, const std::string& overload) {
  static const std::string none;
  static const auto* others = new std::unordered_map<std::string, std::string>{
      {"aten::mean.out", "dim"},
      {"aten::norm.out", "ScalarOpt_dim"},
      {"aten::norm.dtype_out", "ScalarOpt_dim_dtype"},
  };
  const auto found = others->find(name + "." + overload);
  return found == others->end() ? none : found->second;
}

void take_result(const at::Tensor& out, const at::Tensor& result) {
  if (at::native::resize_output(out, result.sizes())) {
    out.as_strided_(result.sizes(), result.strides());
  }
  out.copy_(result);
}

}  // namespace

at::Tensor tensor_argument(DoubtfulCall& call, size_t position) {
  const c10::IValue& value = call.stack()[position];
  return value.isTensor() && value.toTensor().defined() && value.toTensor().is_cuda() ? value.toTensor() : at::Tensor();
}

void lay_out_arguments(DoubtfulCall& call) {
  lay_out(call, [](const at::Tensor& tensor) { return tensor.suggest_memory_format(); });
}

void lay_out_arguments_densely(DoubtfulCall& call) {
  const at::Tensor first = tensor_argument(call, 0);
  const auto format = first.defined() ? first.suggest_memory_format() : at::MemoryFormat::Contiguous;
  lay_out(call, [](const at::Tensor&) { return at::MemoryFormat::Contiguous; });
  c10::IValue& result = call.stack().front();
  if (format != at::MemoryFormat::Contiguous && result.isTensor() && result.toTensor().dim() == first.dim()) {
    result = result.toTensor().contiguous(format);
  }
}

void widen_transposed_3d(DoubtfulCall& call) {
  const at::Tensor first = tensor_argument(call, 0);
  const bool is_backward = call.op().schema().name() == "aten::convolution_backward";
  const bool is_transposed = call.stack()[is_backward ? 7 : 6].toBool();
  if (!first.defined() || first.dim() != 5 || !at::isReducedFloatingType(first.scalar_type()) || !is_transposed) {
    call.go_on();
    return;
  }
  const auto convert = [&](at::ScalarType to) {
    for (size_t i = 0; i < call.stack().size(); ++i) {
      if (const at::Tensor tensor = tensor_argument(call, i); tensor.defined()) {
        call.stack()[i] = tensor.to(to);
      }
    }
  };
  convert(at::kFloat);
  call.go_on();
  convert(first.scalar_type());
}

void copy_into_out(DoubtfulCall& call) {
  auto& stack = call.stack();
  const auto& schema = call.op().schema();
  const size_t results = schema.returns().size();
  const size_t inputs = stack.size() - results;
  std::vector<at::Tensor> outs;
  for (size_t i = inputs; i < stack.size(); ++i) {
    outs.push_back(tensor_argument(call, i));
    if (!outs.back().defined() || outs.back().layout() != at::kStrided) {
      call.go_on();  // it has the error
      return;
    }
  }
  const auto functional = c10::Dispatcher::singleton().findSchemaOrThrow(
      schema.name().c_str(), functional_overload(schema.name(), schema.overload_name()).c_str());
  torch::jit::Stack values(stack.begin(), stack.begin() + static_cast<std::ptrdiff_t>(inputs));
  functional.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CUDA), &values);
  for (size_t i = 0; i < results; ++i) {
    const at::ScalarType type = values[i].toTensor().scalar_type();
    if (type != outs[i].scalar_type() && type != at::kBool) {
      call.go_to_host();  // it has the error, or the conversion
      return;
    }
  }
  for (size_t i = 0; i < results; ++i) {
    take_result(outs[i], values[i].toTensor());
  }
  stack.assign(outs.begin(), outs.end());
}

}  // namespace torchdevice
