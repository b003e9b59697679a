"""Which operators are not forwarded, and what the others do with arguments on different devices; with the reasons."""

from __future__ import annotations

from enum import Enum

from operators import Operators
from torchgen.model import DeviceCheckType, NativeFunction


class Mixing(Enum):
    """Mirrors `enum class Mixing` in csrc/forward/Rule.h."""

    SAME_DEVICE = "kSameDevice"
    TENSOR_ITERATOR = "kTensorIterator"
    INDICES = "kIndices"
    CONVOLUTION = "kConvolution"
    COMPOSITE = "kComposite"
    ANY_DEVICE = "kAnyDevice"


#: Implemented by hand in csrc/aten, where the reason stands.
HANDWRITTEN = {
    "_fused_sdp_choice",
    "_nested_view_from_buffer",
    "as_strided",
    "_log_softmax",
    "_log_softmax.out",
    "_log_softmax_backward_data",
    "_log_softmax_backward_data.out",
    "_reshape_alias",
    "_softmax",
    "_softmax.out",
    "_softmax_backward_data",
    "_softmax_backward_data.out",
    "empty.memory_format",
    "empty_strided",
    "exponential_",
    "is_set_to",
    "native_dropout",
    "set_",
    "set_.source_Storage",
    "set_.source_Storage_storage_offset",
    "set_.source_Tensor",
    "unfold",
    "view",
    "view_as_complex",
    "view_as_real",
}

#: Composite operators that only read or relabel metadata: forwarding them would cost more than they do.
METADATA_ONLY = {
    "_fw_primal",
    "_has_same_storage_numel",
    "_lazy_clone",
    "_make_dual",
    "_unsafe_view",
    "detach_",
    "is_same_size",
    "lift",
    "resize_as_",
    "unsafe_split.Tensor",
    "unsafe_split_with_sizes",
}

#: torch registers its composite kernel under CUDA's own key, also in a CPU build.
REGISTERED_BY_TORCH = {"_foreach_mm"}

#: Their composite kernels choose what to do by the tensors' device, or give results on several devices.
DEVICE_AWARE = {
    "_pack_padded_sequence",
    "_pin_memory",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_fused_attention_overrideable_backward",
    "convolution_backward_overrideable",
    "convolution_overrideable",
    "copy",
    "is_pinned",
}

#: Copies between devices are what they are for.
COPIES = {"_copy_from", "_copy_from_and_resize", "copy_"}

#: On a GPU the host waits for the device: shapes or values on the host depend on what was computed. Some of them do not
#: always; csrc/forward/Waiting.h says when. What is composed of these waits with them.
WAITING = {
    "_index_put_impl_",
    "_linalg_check_errors",
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "allclose",
    "bincount",
    "copy_",
    "embedding_renorm_",
    "equal",
    "histc",
    "index.Tensor",
    "index_put",
    "index_put_",
    "masked_select",
    "masked_select.out",
    "nonzero",
    "nonzero.out",
    "repeat_interleave.Tensor",
    "unique_consecutive",
    "unique_dim",
    "unique_dim_consecutive",
}

#: at::native moves indices to the indexed tensor's device.
INDEXING = {"_index_put_impl_", "index.Tensor", "index.Tensor_out"}


def is_view(function: NativeFunction) -> bool:
    returns = function.func.returns
    return any(r.annotation is not None and not r.annotation.is_write for r in returns)


def must_compose(function: NativeFunction, operators: Operators) -> bool:
    """Whether forwarding the operator as a whole is wrong or a waste; it then runs by its composite kernel, if any."""
    name = str(function.func.name)
    if name in HANDWRITTEN:
        return True
    arguments = function.func.arguments
    if operators.has_cpu_kernel(function):
        return False
    if name in COPIES:
        return False
    has_tensor = any(argument.type.is_tensor_like() for argument in arguments.flat_all)
    has_device = arguments.tensor_options is not None or any("Device" in str(a.type) for a in arguments.flat_all)
    writes_list = any(
        a.annotation is not None and a.annotation.is_write and a.type.is_list_like() for a in arguments.out
    )
    return (
        not has_tensor
        or has_device
        or writes_list
        or is_view(function)
        or {"generated", "inplace_view", "nondeterministic_seeded"} & function.tags != set()
        or name in METADATA_ONLY
        or name in DEVICE_AWARE
        or name in REGISTERED_BY_TORCH
        or name.startswith(("_assert", "_functional", "_nested", "_new_zeros", "_sparse", "_test_", "sparse_"))
        or name in {"dense_dim", "is_coalesced", "indices_copy", "values_copy", "_indices_copy", "_values_copy"}
        or "crow_" in name
        or "col_" in name
        or "row_indices" in name
    )


def mixing_of(function: NativeFunction, operators: Operators) -> Mixing:
    name = str(function.func.name)
    if name in COPIES or name.startswith("_nested"):  # sizes of nested tensors live on the CPU
        return Mixing.ANY_DEVICE
    if name in INDEXING:
        return Mixing.INDICES
    if name in {"convolution", "_convolution"}:
        return Mixing.CONVOLUTION
    if not operators.has_cpu_kernel(function):
        return Mixing.COMPOSITE
    if name.startswith("_fused_") and name.endswith("tensor_lr"):
        return Mixing.TENSOR_ITERATOR
    if function.device_check == DeviceCheckType.NoCheck or not operators.has_cuda_kernel(function):
        return Mixing.TENSOR_ITERATOR
    return Mixing.SAME_DEVICE
