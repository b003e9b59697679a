// aten/Layouts.cpp: operators on sparse, compressed sparse, nested and quantized tensors.

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/native/DispatchStub.h>
#include <ATen/native/SparseTensorUtils.h>

#include <algorithm>
#include <string>
#include <unordered_set>

#include "forward/Boxed.h"
#include "forward/Frame.h"
#include "forward/Registrar.h"
#include "forward/checks/WiderTypes.h"
#include "forward/fallback/OperatorRecord.h"
#include "native/Backend.h"

// torch's header of it is not in the wheel.
namespace at::native {
using flatten_indices_fn = Tensor (*)(const Tensor& indices, IntArrayRef size);
DECLARE_DISPATCH(flatten_indices_fn, flatten_indices_stub)
}  // namespace at::native

namespace torchdevice::aten {
namespace {

using Names = std::unordered_set<std::string>;

// For most operators on sparse and nested tensors torch has one kernel for CPU and CUDA, which works on the dense
// tensors inside by calling other operators. Here it runs on CUDA tensors as it does on a GPU. The following have
// kernels of their own for each device (native_functions.yaml), or ask a DispatchStub for one.

const Names& sparse_forwarded() {
  static const auto& names = *new Names{"aten::_coalesce",
                                        "aten::_sparse_log_softmax",
                                        "aten::_sparse_log_softmax_backward_data",
                                        "aten::_sparse_mask_projection",
                                        "aten::_sparse_softmax",
                                        "aten::_sparse_softmax_backward_data",
                                        "aten::_sparse_sparse_matmul",
                                        "aten::_sparse_sum_backward",
                                        "aten::addmm",
                                        "aten::addmm.out",
                                        "aten::addmm_",
                                        "aten::bmm",
                                        "aten::bmm.out",
                                        "aten::hspmm",
                                        "aten::hspmm.out",
                                        "aten::index_select",
                                        "aten::sparse_mask",
                                        "aten::sspaddmm.out"};
  return names;
}

const Names& compressed_forwarded() {
  static const auto& names = *new Names{"aten::_sparse_csr_prod.dim_dtype",
                                        "aten::_sparse_csr_sum.dim_dtype",
                                        "aten::_sparse_mm_reduce_impl",
                                        "aten::_sparse_mm_reduce_impl_backward",
                                        "aten::add.out",
                                        "aten::addmm.out",
                                        "aten::addmv.out",
                                        "aten::sparse_sampled_addmm",
                                        "aten::sparse_sampled_addmm.out"};
  return names;
}

const Names& nested_forwarded() {
  static const auto& names = *new Names{"aten::_fused_sdp_choice",
                                        "aten::_native_multi_head_attention",
                                        "aten::_nested_sum_backward",
                                        "aten::_nested_tensor_softmax_with_shape",
                                        "aten::add.Tensor",
                                        "aten::add_.Tensor",
                                        "aten::bmm",
                                        "aten::div.Tensor",
                                        "aten::mul.Tensor",
                                        "aten::mul_.Tensor",
                                        "aten::native_layer_norm",
                                        "aten::native_layer_norm_backward",
                                        "aten::sub.Tensor",
                                        "aten::sum.dim_IntList",
                                        "aten::to_padded_tensor"};
  return names;
}

// Quantized kernels compute on the memory itself, so nearly all are forwarded; these only make tensors and views.
const Names& quantized_shared() {
  static const auto& names = *new Names{"aten::_empty_affine_quantized",
                                        "aten::_empty_per_channel_affine_quantized",
                                        "aten::_reshape_alias",
                                        "aten::as_strided",
                                        "aten::empty.memory_format",
                                        "aten::empty_like",
                                        "aten::empty_quantized",
                                        "aten::empty_strided",
                                        "aten::q_per_channel_axis",
                                        "aten::q_per_channel_scales",
                                        "aten::q_per_channel_zero_points",
                                        "aten::q_scale",
                                        "aten::q_zero_point",
                                        "aten::qscheme",
                                        "aten::set_.source_Storage_storage_offset",
                                        "aten::squeeze",
                                        "aten::squeeze.dim",
                                        "aten::squeeze.dims",
                                        "aten::unfold",
                                        "aten::unsqueeze",
                                        "aten::view"};
  return names;
}

/// Positions in a sparse tensor as single numbers; to check that a tensor is coalesced, torch asks a DispatchStub for
/// them.
at::Tensor flatten_indices(const at::Tensor& indices, at::IntArrayRef sizes) {
  at::Tensor result;
  const auto kernel = [&] {
    forward::Frame frame;
    const at::Tensor& native = frame.pass(indices);
    frame.enter();
    result = frame.adopted(at::sparse::flatten_indices(native, sizes));
  };
  forward::run_on_host(kernel);
  return result;
}

using SparseNarrowTypes = forward::NarrowTypes<at::kBool, at::kHalf, at::kBFloat16, at::kComplexHalf>;

/// Sums and products of sparse tensors, which CUDA has for more types.
void forward_or_widen(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  const bool narrow = std::any_of(arguments.begin(), arguments.end(), [](const c10::IValue& value) {
    return value.isTensor() && SparseNarrowTypes::among(value.toTensor());
  });
  if (narrow) {
    SparseNarrowTypes::run(op, keys, stack);
  } else {
    forward::boxed_kernel<c10::DispatchKey::Sparse>().callBoxed(op, keys, stack);
  }
}

c10::DispatchKey runtime_key(c10::DispatchKey functionality, c10::BackendComponent backend) {
  return c10::toRuntimePerBackendFunctionalityKey(functionality, backend);
}

/// Every operator that the CPU has a kernel for gets one for CUDA; those `by_hand` elsewhere.
template <c10::DispatchKey functionality, class IsShared>
void register_kind(forward::Registrar& registrar, const IsShared& is_shared, const Names& by_hand = {}) {
  auto& dispatcher = c10::Dispatcher::singleton();
  const c10::DispatchKey native = runtime_key(functionality, c10::BackendComponent::CPUBit);
  const c10::DispatchKey cuda = runtime_key(functionality, c10::BackendComponent::CUDABit);
  for (const c10::OperatorName& name : dispatcher.getRegistrationsForDispatchKey(native)) {
    const bool about_host_memory = name.name == "aten::is_pinned" || name.name == "aten::_pin_memory";
    const bool is_collective = name.getNamespace() == "c10d";  // distributed/Collectives.cpp
    if (!about_host_memory && !is_collective && !by_hand.contains(c10::toString(name))) {
      registrar.add(name, cuda,
                    is_shared(c10::toString(name)) ? forward::shared_kernel<functionality>()
                                                   : forward::boxed_kernel<functionality>());
    }
  }
}

}  // namespace

void register_layouts(forward::Registrar& registrar) {
  const auto is_not_in = [](const Names& names) {
    return [&names](const std::string& name) { return !names.contains(name); };
  };
  register_kind<c10::DispatchKey::Sparse>(registrar, is_not_in(sparse_forwarded()), {"aten::add.out", "aten::mul.out"});
  register_kind<c10::DispatchKey::SparseCsr>(registrar, is_not_in(compressed_forwarded()),
                                             {"aten::triangular_solve.X"});
  register_kind<c10::DispatchKey::NestedTensor>(registrar, is_not_in(nested_forwarded()),
                                                {"aten::_transform_bias_rescale_qkv"});
  register_kind<c10::DispatchKey::Quantized>(registrar,
                                             [](const std::string& name) { return quantized_shared().contains(name); });
  at::native::flatten_indices_stub.set_cuda_dispatch_ptr(&flatten_indices);
  for (const char* name : {"aten::add", "aten::mul"}) {
    registrar.add({name, "out"}, c10::DispatchKey::SparseCUDA,
                  c10::KernelFunction::makeFromBoxedFunction<&forward_or_widen>());
  }
  // Its composite kernel asks a DispatchStub.
  registrar.add({"aten::copy_", ""}, c10::DispatchKey::QuantizedCUDA,
                forward::boxed_kernel<c10::DispatchKey::Quantized>());
}

}  // namespace torchdevice::aten
