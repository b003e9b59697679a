// aten/SdpBackends.cpp: which of CUDA's attention kernels scaled_dot_product_attention takes. The conditions, their
// order and their warnings are those of torch's native/transformers/cuda/sdp_utils.cpp.

#include "aten/SdpBackends.h"

#include <ATen/Context.h>
#include <c10/util/env.h>

#include <array>

#include "runtime/Device.h"

namespace torchdevice::aten {
namespace {

using Params = sdp::sdp_params;
using Condition = bool (*)(const Params&, bool);

bool at_least_sm80() { return compute_capability().first >= 8; }

bool is_half(const Params& params) {
  return params.query.scalar_type() == at::kHalf || params.query.scalar_type() == at::kBFloat16;
}

bool on_cuda(const Params& params, bool debug) {
  if (params.query.is_cuda()) {
    return true;
  }
  if (debug) {
    TORCH_WARN("All tensors need to be on cuda device. Got query on device: ", params.query.device(),
               ", key on device: ", params.key.device(), ", value on device: ", params.value.device());
  }
  return false;
}

template <Condition condition>
bool if_dense(const Params& params, bool debug) {
  return !sdp::has_only_dense_inputs(params) || condition(params, debug);
}

bool has_dense_inputs(const Params& params, bool debug) {
  const bool dense = sdp::has_only_dense_inputs(params);
  if (!dense && debug) {
    TORCH_WARN("torchdevice's fused kernels do not support nested tensors.");
  }
  return dense;
}

bool flash_nested_head_dim(const Params& params, bool debug) {
  const auto query = params.query.sym_size(-1);
  const auto key = params.key.sym_size(-1);
  const auto value = params.value.sym_size(-1);
  if (query == key && query == value && query % 8 == 0 && query <= 256) {
    return true;
  }
  if (debug) {
    TORCH_WARN("For NestedTensor inputs,", " Flash attention",
               " requires q,k,v to have the same last dimension and to be a multiple of 8 and less than or equal to ",
               "256.", " Got Query.size(-1): ", query, ", Key.size(-1): ", key, ", Value.size(-1): ", value,
               " instead.");
  }
  return false;
}

/// CUDA's own reasons against nested tensors, then that there are no fused kernels for them here.
bool flash_nested(const Params& params, bool debug) {
  return !sdp::has_for_nested_inputs(params) ||
         (sdp::check_batch_size_nested(params, debug) && flash_nested_head_dim(params, debug) &&
          sdp::check_for_seq_len_0_nested_tensor(params, debug) && has_dense_inputs(params, debug));
}

bool efficient_nested(const Params& params, bool debug) {
  return !sdp::has_for_nested_inputs(params) ||
         (sdp::check_requires_grad_and_nested(params, debug) && sdp::check_batch_size_nested(params, debug) &&
          sdp::check_for_seq_len_0_nested_tensor(params, debug) && has_dense_inputs(params, debug));
}

bool flash_hardware(const Params&, bool debug) {
  if (at_least_sm80()) {
    return true;
  }
  if (debug) {
    const auto [major, minor] = compute_capability();
    TORCH_WARN("Flash attention only supports gpu architectures in the range [sm80, sm121]. Attempting to run on a sm ",
               major, ".", minor, " gpu.");
  }
  return false;
}

bool cudnn_hardware(const Params&, bool debug) {
  if (at_least_sm80()) {
    return true;
  }
  if (debug) {
    const auto [major, minor] = compute_capability();
    TORCH_WARN("cuDNN MHA only supports gpu architectures in the range [sm80, sm121]. Attempting to run on a sm ",
               major, ".", minor, " gpu.");
  }
  return false;
}

bool flash_head_dim(const Params& params, bool debug) {
  const auto query = params.query.sym_size(-1);
  const auto key = params.key.sym_size(-1);
  const auto value = params.value.sym_size(-1);
  if (query == key && query == value && query <= 256) {
    return true;
  }
  if (debug) {
    TORCH_WARN("Flash attention",
               " requires q,k,v to have the same last dimension and to be less than or equal to 256.",
               " Got Query.size(-1): ", query, ", Key.size(-1): ", key, ", Value.size(-1): ", value, " instead.");
  }
  return false;
}

bool flash_training_head_dim(const Params& params, bool debug) {
  const auto [major, minor] = compute_capability();
  const bool limited = (major == 8 && minor >= 6 && minor <= 9) || (major == 12 && minor <= 1);
  const auto head_dim = params.query.sym_size(-1);
  const bool large = (head_dim > 192 && head_dim <= 224) || (head_dim > 224 && params.dropout > 0);
  if (!(sdp::input_requires_grad(params) && limited && large)) {
    return true;
  }
  if (debug) {
    TORCH_WARN("Flash attention currently doesn't support training with head_dim ∈ (192, 224] or ",
               "(head_dim ∈ (224, 256] and dropout > 0.0) on gpu architectures in the range[sm86, sm89].",
               "Attempting to run with dropout set to: ", params.dropout, "and head_dim: ", head_dim, " on a sm ",
               major, ".", minor, " gpu.");
  }
  return false;
}

bool flash_square_causal(const Params& params, bool debug) {
  const auto query = params.query.sym_size(-2);
  const auto key = params.key.sym_size(-2);
  if (!params.is_causal || query == key) {
    return true;
  }
  if (debug) {
    TORCH_WARN("Flash attention does not support the is_causal flag when seqlen_q != seqlen_k. ",
               "Got seqlen_q: ", query, " seqlen_k: ", key,
               ". If you would like to use causal attention with non-square masks, please see CausalAttnMask.");
  }
  return false;
}

bool half_types(const Params& params, bool debug) {
  return at_least_sm80()
             ? sdp::check_tensor_dtype(params, std::array<at::ScalarType, 2>{at::kHalf, at::kBFloat16}, debug)
             : sdp::check_tensor_dtype(params, std::array<at::ScalarType, 1>{at::kHalf}, debug);
}

bool efficient_types(const Params& params, bool debug) {
  return at_least_sm80() ? sdp::check_tensor_dtype(
                               params, std::array<at::ScalarType, 3>{at::kHalf, at::kFloat, at::kBFloat16}, debug)
                         : sdp::check_tensor_dtype(params, std::array<at::ScalarType, 2>{at::kHalf, at::kFloat}, debug);
}

/// What the kernel's matrix products want sizes to be multiples of.
int64_t efficient_alignment(const Params& params) {
  const bool tensor_cores = at_least_sm80() || (compute_capability().first == 7 && is_half(params));
  return tensor_cores ? (is_half(params) ? 8 : 4) : 1;
}

bool efficient_head_dim(const Params& params, bool debug) {
  const auto query = params.query.sym_size(-1);
  const auto key = params.key.sym_size(-1);
  const auto value = params.value.sym_size(-1);
  const int64_t alignment = efficient_alignment(params);
  if (query == key && query % alignment == 0 && query > 0 && value % alignment == 0 && value > 0) {
    return true;
  }
  if (debug) {
    TORCH_WARN("Mem efficient attention requires last dimension of inputs to be divisible by ", alignment, ". ",
               "Got Query.size(-1): ", query, ", Key.size(-1): ", key, ", Value.size(-1): ", value, " instead.");
  }
  return false;
}

bool cudnn_enabled(const Params&, bool debug) {
  if (at::globalContext().userEnabledCuDNNSDP()) {
    return true;
  }
  if (debug) {
    TORCH_WARN("cuDNN attention has been runtime disabled.");
  }
  return false;
}

bool cudnn_deterministic(const Params&, bool debug) {
  const auto& context = at::globalContext();
  if (!context.deterministicAlgorithms() || context.deterministicAlgorithmsWarnOnly()) {
    return true;
  }
  if (debug) {
    TORCH_WARN("cuDNN SDPA is not deterministic.");
  }
  return false;
}

/// As for cuDNN 9.10 and later, which the wheels of this torch ship with.
bool cudnn_shapes(const Params& params, bool debug) {
  const int64_t limit = compute_capability() == std::pair(9, 0) ? 256 : 128;
  const auto query_dim = params.query.sym_size(3);
  const auto value_dim = params.value.sym_size(3);
  if (query_dim > limit || value_dim > limit) {
    if (debug) {
      TORCH_WARN("head_dim should be no more than ", limit);
    }
    return false;
  }
  if (query_dim % 8 != 0 || value_dim % 8 != 0) {
    if (debug) {
      TORCH_WARN("head_dim should be a multiple of 8");
    }
    return false;
  }
  if (params.key.sym_size(2) == 1) {
    if (debug) {
      TORCH_WARN_ONCE("cudnn SDPA does not support key/value sequence length 1.");
    }
    return false;
  }
  if (params.query.sym_size(2) == 1 && params.dropout != 0) {
    if (debug) {
      TORCH_WARN_ONCE("cudnn SDPA does not support query sequence length 1 with dropout.");
    }
    return false;
  }
  return true;
}

template <size_t count>
bool all_of(const std::array<Condition, count>& conditions, const Params& params, bool debug) {
  for (const Condition condition : conditions) {
    if (!condition(params, debug)) {
      return false;
    }
  }
  return true;
}

bool can_use_flash(const Params& params, bool debug) {
  static constexpr std::array<Condition, 13> kConditions{
      sdp::check_runtime_disabled_flash,
      on_cuda,
      sdp::check_tensor_shapes,
      sdp::check_for_attn_mask,
      flash_head_dim,
      flash_hardware,
      flash_training_head_dim,
      flash_nested,
      flash_square_causal,
      half_types,
      if_dense<sdp::check_batch_size_and_num_heads_dense</*supports_gqa=*/true>>,
      if_dense<sdp::check_nonzero_sequence_lengths_dense>,
      if_dense<sdp::check_last_dim_stride_equals_1_dense</*ignore_singleton_dim=*/true>>};
  return all_of(kConditions, params, debug);
}

bool can_use_efficient(const Params& params, bool debug) {
  static constexpr std::array<Condition, 9> kConditions{
      sdp::check_runtime_disabled_mem_efficient,
      on_cuda,
      sdp::check_tensor_shapes,
      efficient_head_dim,
      efficient_nested,
      if_dense<sdp::check_nonzero_sequence_lengths_dense>,
      if_dense<sdp::check_last_dim_stride_equals_1_dense</*ignore_singleton_dim=*/false>>,
      if_dense<sdp::check_batch_size_and_num_heads_dense</*supports_gqa=*/false>>,
      efficient_types};
  return all_of(kConditions, params, debug);
}

bool can_use_cudnn(const Params& params, bool debug) {
  static constexpr std::array<Condition, 12> kConditions{
      cudnn_enabled,
      on_cuda,
      has_dense_inputs,
      sdp::check_tensor_shapes,
      cudnn_deterministic,
      half_types,
      sdp::check_attn_mask_shape,
      cudnn_hardware,
      sdp::check_nonzero_sequence_lengths_dense,
      sdp::check_last_dim_stride_equals_1_dense</*ignore_singleton_dim=*/true>,
      sdp::check_batch_size_and_num_heads_dense</*supports_gqa=*/true, /*requires_same_num_heads=*/false>,
      cudnn_shapes};
  return all_of(kConditions, params, debug);
}

/// torch puts cuDNN first on Hopper and Blackwell, at the first attention of the process.
void set_default_order() {
  static const bool done = [] {
    const auto [major, minor] = compute_capability();
    const bool preferred = (major == 9 || major == 10) && minor == 0;
    if (preferred && c10::utils::check_env("TORCH_CUDNN_SDPA_PREFERRED") != std::optional(false)) {
      at::globalContext().setSDPPriorityOrder(
          {static_cast<int64_t>(at::SDPBackend::cudnn_attention), static_cast<int64_t>(at::SDPBackend::flash_attention),
           static_cast<int64_t>(at::SDPBackend::efficient_attention), static_cast<int64_t>(at::SDPBackend::math)});
    }
    return true;
  }();
  (void)done;
}

}  // namespace

bool can_use(sdp::SDPBackend backend, const Params& params, bool debug) {
  switch (backend) {
    case sdp::SDPBackend::flash_attention:
      return can_use_flash(params, debug);
    case sdp::SDPBackend::efficient_attention:
      return can_use_efficient(params, debug);
    case sdp::SDPBackend::cudnn_attention:
      return can_use_cudnn(params, debug);
    case sdp::SDPBackend::math:
      return at::globalContext().userEnabledMathSDP();
    case sdp::SDPBackend::overrideable:
      TORCH_CHECK(!at::globalContext().userEnabledOverrideableSDP(), "Invalid backend");
      return false;
    default:
      TORCH_CHECK(false, "Invalid backend");
  }
}

sdp::SDPBackend choose_attention(const Params& params) {
  auto& context = at::globalContext();
  TORCH_CHECK(context.userEnabledMathSDP() || context.userEnabledFlashSDP() || context.userEnabledMemEfficientSDP() ||
                  context.userEnabledCuDNNSDP(),
              "No viable backend for scaled_dot_product_attention was found. ",
              "This is likely due to turning off both the math kernel and the fused kernels.");
  set_default_order();
  for (const sdp::SDPBackend backend : context.sDPPriorityOrder()) {
    if (can_use(backend, params, /*debug=*/false)) {
      return backend;
    }
  }
  TORCH_WARN("Memory efficient kernel not used because:");
  can_use_efficient(params, /*debug=*/true);
  TORCH_WARN("Flash attention kernel not used because:");
  can_use_flash(params, /*debug=*/true);
  TORCH_WARN("cuDNN attention kernel not used because:");
  can_use_cudnn(params, /*debug=*/true);
  TORCH_CHECK(false, "No available kernel. Aborting execution.");
}

}  // namespace torchdevice::aten
