// aten/Lstm.cpp: nn.LSTM in whole layers, by oneDNN. On a GPU cuDNN does that; without this kernel, at::native steps
// through CUDA's sequences cell by cell.

#include "aten/Lstm.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/lstm_ops.h>
#include <ATen/ops/mkldnn_rnn_layer.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "forward/NativeKernel.h"
#include "forward/Registrar.h"
#include "native/Backend.h"

namespace torchdevice::aten {
namespace {

using Lstm = at::_ops::lstm_input;

/// ideep::rnn_kind::LSTM, which the wheel has no header for.
constexpr int64_t kLstmMode = 2;

bool processor_supports(const char* question) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(question, "").typed<bool()>().call();
}

bool supports_dtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return true;
    case at::kBFloat16:
      return processor_supports("mkldnn::_is_mkldnn_bf16_supported");
    case at::kHalf:
      return !at::GradMode::is_enabled() && processor_supports("mkldnn::_is_mkldnn_fp16_supported");
    default:
      return false;
  }
}

/// at::native::use_mkldnn for an LSTM, asked of CUDA tensors. What it declines goes cell by cell, which also has the
/// error messages. Autocast knows the cells and not oneDNN's layer.
bool takes_whole_layers(const at::Tensor& input, at::TensorList hx, at::TensorList params) {
  const auto& context = at::globalContext();
  if (!native_backend().device().is_cpu() || !context.userEnabledCuDNN() || !context.userEnabledMkldnn() ||
      at::autocast::is_autocast_enabled(at::kCUDA)) {
    return false;
  }
  const auto suits = [&](const at::Tensor& tensor) {
    return tensor.defined() && tensor.is_cuda() && tensor.device() == input.device() &&
           tensor.scalar_type() == input.scalar_type() && !tensor.unsafeGetTensorImpl()->has_symbolic_sizes_strides();
  };
  return input.dim() == 3 && input.numel() != 0 && suits(input) && supports_dtype(input.scalar_type()) &&
         hx.size() == 2 && std::all_of(hx.begin(), hx.end(), suits) &&
         hx[0].sizes() == hx[1].sizes() &&  // else the LSTM has projections
         std::all_of(params.begin(), params.end(), suits);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm(const at::Tensor& input, at::TensorList hx, at::TensorList params,
                                                    bool has_biases, int64_t num_layers, double dropout, bool train,
                                                    bool bidirectional, bool batch_first) {
  if (!takes_whole_layers(input, hx, params)) {
    return Lstm::redispatch(forward::kCompositeKeys, input, hx, params, has_biases, num_layers, dropout, train,
                            bidirectional, batch_first);
  }
  const int64_t directions = bidirectional ? 2 : 1;
  const int64_t params_per_layer = has_biases ? 4 : 2;
  TORCH_CHECK(static_cast<int64_t>(params.size()) == num_layers * directions * params_per_layer, "lstm(): expected ",
              num_layers * directions * params_per_layer, " weights and biases, but got ", params.size());
  const at::Tensor hidden = hx[0].contiguous();
  const at::Tensor cells = hx[1].contiguous();
  at::Tensor sequence = (batch_first ? input.transpose(0, 1) : input).contiguous();
  std::vector<at::Tensor> last_hidden, last_cells;
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    std::vector<at::Tensor> outputs;
    for (int64_t direction = 0; direction < directions; ++direction) {
      const int64_t index = layer * directions + direction;
      const auto weights = params.slice(index * params_per_layer, params_per_layer);
      auto [output, hy, cy, workspace] =
          at::mkldnn_rnn_layer(sequence, weights[0], weights[1], has_biases ? weights[2] : at::zeros_like(weights[0]),
                               has_biases ? weights[3] : at::zeros_like(weights[1]), hidden[index], cells[index],
                               /*reverse=*/direction > 0, /*batch_sizes=*/{}, kLstmMode, hidden.size(2), num_layers,
                               has_biases, bidirectional, batch_first, train);
      outputs.push_back(std::move(output));
      last_hidden.push_back(std::move(hy));
      last_cells.push_back(std::move(cy));
    }
    sequence = bidirectional ? at::cat(outputs, -1) : outputs.front();
    if (train && dropout != 0 && layer + 1 < num_layers) {
      sequence = at::dropout(sequence, dropout, /*train=*/true);
    }
  }
  return {batch_first ? sequence.transpose(0, 1) : sequence, at::stack(last_hidden, 0), at::stack(last_cells, 0)};
}

}  // namespace

void lstm_in_layers(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  static const auto kernel = c10::KernelFunction::makeFromUnboxedFunction(TORCH_FN(lstm));
  kernel.callBoxed(op, c10::DispatchKeySet(c10::DispatchKey::CUDA), stack);
}

}  // namespace torchdevice::aten
