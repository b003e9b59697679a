"""Which operators are not forwarded, and what the others do with arguments on different devices; with the reasons."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from operators import Operators
from torchgen.model import DeviceCheckType, NativeFunction, SchemaKind


class Mixing(Enum):
    """Mirrors `enum class Mixing` in csrc/forward/DeviceRule.h."""

    SAME_DEVICE = "kSameDevice"
    TENSOR_ITERATOR = "kTensorIterator"
    INDICES = "kIndices"
    MASK = "kMask"
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
    "bernoulli.out",
    "bernoulli_.Tensor",
    "bernoulli_.float",
    "cauchy_",
    "copy_",
    "empty.memory_format",
    "empty_strided",
    "exponential_",
    "geometric_",
    "is_set_to",
    "linalg_lu",
    "linalg_lu.out",
    "linalg_lu_factor_ex",
    "linalg_lu_factor_ex.out",
    "log_normal_",
    "nansum",
    "nansum.out",
    "native_dropout",
    "normal.Tensor_Tensor",
    "normal.Tensor_Tensor_out",
    "normal.Tensor_float",
    "normal.Tensor_float_out",
    "normal.float_Tensor",
    "normal.float_Tensor_out",
    "normal_",
    "random_",
    "random_.from",
    "random_.to",
    "set_",
    "set_.source_Storage",
    "set_.source_Storage_storage_offset",
    "set_.source_Tensor",
    "unfold",
    "uniform_",
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

#: Composite operators that only sparse tensors have; those are served by csrc/aten/Layouts.cpp.
SPARSE_PARTS = {"dense_dim", "is_coalesced", "indices_copy", "values_copy", "_indices_copy", "_values_copy"}

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

#: On a GPU the host waits for the device: shapes or values on the host depend on what was computed. Some of them do not
#: always; csrc/forward/checks/HostSync.h says when. What is composed of these waits with them.
HOST_SYNCS = {
    "_index_put_impl_",
    "_linalg_check_errors",
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "allclose",
    "bincount",
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

#: What torch.use_deterministic_algorithms refuses on a GPU, with the name that CUDA's kernel has in the error. Some of
#: them not always; csrc/forward/checks/Nondeterministic.h says when.
NONDETERMINISTIC = {
    "_adaptive_avg_pool2d_backward": "adaptive_avg_pool2d_backward_cuda",
    "_adaptive_avg_pool3d_backward": "adaptive_avg_pool3d_backward_cuda",
    "_ctc_loss_backward": "ctc_loss_backward_gpu",
    "_ctc_loss_backward.Tensor": "ctc_loss_backward_gpu",
    "_embedding_bag_backward": "embedding_bag_backward_cuda_max",
    "_embedding_bag_dense_backward": "embedding_bag_backward_cuda_max",
    "_upsample_bicubic2d_aa_backward": "upsample_bicubic2d_aa_backward_out_cuda",
    "_upsample_bicubic2d_aa_backward.grad_input": "upsample_bicubic2d_aa_backward_out_cuda",
    "_upsample_bilinear2d_aa_backward": "upsample_bilinear2d_aa_backward_out_cuda",
    "_upsample_bilinear2d_aa_backward.grad_input": "upsample_bilinear2d_aa_backward_out_cuda",
    "adaptive_avg_pool3d_backward.grad_input": "adaptive_avg_pool3d_backward_out_cuda",
    "adaptive_max_pool2d_backward": "adaptive_max_pool2d_backward_cuda",
    "adaptive_max_pool2d_backward.grad_input": "adaptive_max_pool2d_backward_cuda",
    "avg_pool3d_backward": "avg_pool3d_backward_cuda",
    "avg_pool3d_backward.grad_input": "avg_pool3d_backward_cuda",
    "bincount": "_bincount_cuda",
    "fractional_max_pool2d_backward": "fractional_max_pool2d_backward_cuda",
    "fractional_max_pool2d_backward.grad_input": "fractional_max_pool2d_backward_cuda",
    "fractional_max_pool3d_backward": "fractional_max_pool3d_backward_cuda",
    "fractional_max_pool3d_backward.grad_input": "fractional_max_pool3d_backward_out_cuda",
    "grid_sampler_2d_backward": "grid_sampler_2d_backward_cuda",
    "grid_sampler_3d_backward": "grid_sampler_3d_backward_cuda",
    "histc": "_histc_cuda",
    "histc.out": "_histc_cuda",
    "index_reduce": "index_reduce_cuda",
    "index_reduce.out": "index_reduce_cuda",
    "index_reduce_": "index_reduce_cuda",
    "median.dim": "median CUDA with indices output",
    "median.dim_values": "median CUDA with indices output",
    "nanmedian.dim": "median CUDA with indices output",
    "nanmedian.dim_values": "median CUDA with indices output",
    "nll_loss2d_forward": "nll_loss2d_forward_out_cuda_template",
    "nll_loss2d_forward.output": "nll_loss2d_forward_out_cuda_template",
    "put": "put_",
    "put_": "put_",
    "reflection_pad1d_backward": "reflection_pad1d_backward_out_cuda",
    "reflection_pad1d_backward.grad_input": "reflection_pad1d_backward_out_cuda",
    "reflection_pad2d_backward": "reflection_pad2d_backward_cuda",
    "reflection_pad2d_backward.grad_input": "reflection_pad2d_backward_out_cuda",
    "reflection_pad3d_backward": "reflection_pad3d_backward_out_cuda",
    "reflection_pad3d_backward.grad_input": "reflection_pad3d_backward_out_cuda",
    "scatter.reduce": "scatter_reduce_cuda_kernel",
    "scatter.reduce_out": "scatter_reduce_cuda_kernel",
    "scatter_.reduce": "scatter_reduce_cuda_kernel",
    "scatter_reduce.two": "scatter_reduce_cuda_prod_",
    "scatter_reduce.two_out": "scatter_reduce_cuda_prod_",
    "scatter_reduce_.two": "scatter_reduce_cuda_prod_",
    "upsample_bicubic2d_backward": "upsample_bicubic2d_backward_out_cuda",
    "upsample_bicubic2d_backward.grad_input": "upsample_bicubic2d_backward_out_cuda",
    "upsample_bilinear2d_backward": "upsample_bilinear2d_backward_out_cuda",
    "upsample_bilinear2d_backward.grad_input": "upsample_bilinear2d_backward_out_cuda",
    "upsample_linear1d_backward": "upsample_linear1d_backward_out_cuda",
    "upsample_linear1d_backward.grad_input": "upsample_linear1d_backward_out_cuda",
    "upsample_trilinear3d_backward": "upsample_trilinear3d_backward_out_cuda",
    "upsample_trilinear3d_backward.grad_input": "upsample_trilinear3d_backward_out_cuda",
}

#: Products of float8 matrices, which a GPU older than Ada refuses.
FLOAT8 = {"_scaled_mm", "_scaled_mm.out", "_scaled_mm_v2", "_scaled_mm_v2.out"}

#: Products of bytes, whose sizes are limited on a GPU.
INT_MM = {"_int_mm", "_int_mm.out"}

#: Fourier transforms, which a GPU has for halves of some sizes only.
FFT = {"_fft_c2c", "_fft_c2c.out", "_fft_c2r", "_fft_c2r.out", "_fft_r2c", "_fft_r2c.out"}

#: Normalisations whose weights have the type of what is normalised on a GPU.
OF_ONE_TYPE = {"native_layer_norm", "native_layer_norm_backward", "native_group_norm", "native_group_norm_backward"}

#: Operators that the CPU has and CUDA has not, where the release has no kernel; in all forms.
ABSENT_ON_CUDA = {
    "_add_relu",
    "_histogramdd_bin_edges",
    "_histogramdd_from_bin_cts",
    "_histogramdd_from_bin_tensors",
    "_upsample_lanczos2d_aa",
    "_upsample_lanczos2d_aa_backward",
    "histogram",
}

#: Linear algebra whose algorithm the caller names, and who translates the name: csrc/forward/checks/LinalgDrivers.h.
LINALG_DRIVERS = {
    "_linalg_svd": "SvdDriver",
    "_linalg_svd.U": "SvdDriver",
    "linalg_lstsq": "LeastSquaresDriver",
    "linalg_lstsq.out": "LeastSquaresDriver",
}

#: Operators whose native kernels say too little of a bad index or label, and where these are:
#: csrc/forward/checks/BadIndices.h.
BAD_INDICES = {
    "embedding": "RowIndices",
    "embedding_renorm_": "RowIndices",
    "index_add": "PlaceIndices",
    "index_add.out": "PlaceIndices",
    "index_add_": "PlaceIndices",
    "index_reduce": "PlaceIndices",
    "index_reduce.out": "PlaceIndices",
    "index_reduce_": "PlaceIndices",
    "index_select": "PlaceIndices",
    "index_select.out": "PlaceIndices",
    "multi_margin_loss": "Labels",
    "multi_margin_loss.out": "Labels",
    "nll_loss2d_forward": "Labels",
    "nll_loss2d_forward.output": "Labels",
    "nll_loss_forward": "Labels",
    "nll_loss_forward.output": "Labels",
}

_INTEGERS = ("Byte", "Char", "Short", "Int", "Long")
_HALVES = ("Half", "BFloat16")


class Refused(NamedTuple):
    """Types that the CPU's kernel knows and CUDA's does not, and what CUDA's calls itself in the error."""

    kernel: str
    types: tuple[str, ...]
    before_cudnn: bool = False  #: cuDNN is asked first, if it is enabled
    reduction: str = ""  #: the one reduction whose kernel knows the types


_ADDMM = Refused("addmm_cuda", _INTEGERS)
_BADDBMM = Refused("baddbmm_cuda", _INTEGERS)
_ADDMV = Refused("addmv_impl_cuda", _INTEGERS)
_BOOL_AND_COMPLEX = ("Bool", "ComplexFloat", "ComplexDouble")

#: By torch.testing's OpInfos, dtypes less dtypesIfCUDA, and by the kernels' own sources; for an operator in all forms
#: or for one form.
REFUSED_TYPES = {
    **dict.fromkeys(["mm", "addmm", "_addmm_activation", "addbmm"], _ADDMM),
    **dict.fromkeys(["bmm", "baddbmm", "_trilinear"], _BADDBMM),
    **dict.fromkeys(["mv", "addmv"], _ADDMV),
    **dict.fromkeys(["dot", "vdot"], Refused("dot", _INTEGERS)),
    **dict.fromkeys(["convolution", "_convolution"], Refused("slow_conv2d_cuda", _INTEGERS, before_cudnn=True)),
    "avg_pool2d": Refused("avg_pool2d_out_cuda_frame", ("Long",)),
    "avg_pool2d_backward": Refused("avg_pool2d_backward_out_cuda_frame", ("Long",)),
    "avg_pool3d": Refused("avg_pool3d_out_cuda", ("Long",)),
    "avg_pool3d_backward": Refused("avg_pool3d_backward_out_frame", ("Long",)),
    "max_pool2d_with_indices": Refused("max_pool2d_with_indices_out_cuda_frame", _INTEGERS),
    "max_pool3d_with_indices": Refused("max_pool3d_with_indices_out_frame", _INTEGERS),
    **dict.fromkeys(
        ["upsample_bilinear2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"],
        Refused("upsample_bilinear2d_out_frame", ("Byte",)),
    ),
    "upsample_bicubic2d": Refused("upsample_bicubic2d_out_frame", ("Byte",)),
    "igamma": Refused("igamma_cuda", _HALVES),
    "igammac": Refused("igammac_cuda", _HALVES),
    "angle": Refused("angle_cuda", _HALVES),
    "histc": Refused("histc", _HALVES),
    "linalg_vector_norm": Refused("norm_kernel_cuda", ("ComplexHalf",)),
    "native_dropout_backward": Refused("masked_scale", (*_INTEGERS, *_BOOL_AND_COMPLEX)),
    "scatter_reduce": Refused("cuda_scatter_gather_base_kernel_func", _BOOL_AND_COMPLEX, reduction="sum"),
    **dict.fromkeys(
        ["scatter.reduce", "scatter.reduce_out", "scatter_.reduce"],
        Refused("cuda_scatter_gather_base_kernel_func", _BOOL_AND_COMPLEX, reduction="add"),
    ),
    **dict.fromkeys(
        ["scatter.value_reduce", "scatter.value_reduce_out", "scatter_.value_reduce"],
        Refused("cuda_scatter_fill_base_kernel_reduce_multiply", _BOOL_AND_COMPLEX, reduction="add"),
    ),
}

#: Divisions of integers, which on a GPU raise no error: csrc/forward/checks/IntegerDivision.h.
INTEGER_DIVISIONS = re.compile(r"(floor_divide|remainder|fmod)_?(\.|$)|div_?\.\w+_mode")

_COMPLEX_HALF = ("ComplexHalf",)
_ALL_HALVES = ("Half", "ComplexHalf")


def _each(names: str, types: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(names.split(), types)


#: Types that CUDA's kernels know and the CPU's do not: by torch.testing's OpInfos, dtypesIfCUDA less dtypes. Here for
#: the named operators and their in-place and out= forms.
WIDER_TYPES_OF_ALL_FORMS = {
    **_each("abs", ("Bool",)),
    **_each("equal", _COMPLEX_HALF),
    **_each("trace", ("Bool", "ComplexHalf")),
    **_each("histc", _INTEGERS),
    **_each("avg_pool3d avg_pool3d_backward", _HALVES),
    **_each("multi_margin_loss multi_margin_loss_backward", _HALVES),
    **_each("multilabel_margin_loss_forward multilabel_margin_loss_backward", _HALVES),
    **_each("_upsample_bilinear2d_aa _upsample_bilinear2d_aa_backward", _HALVES),
    **_each("_upsample_bicubic2d_aa _upsample_bicubic2d_aa_backward", _HALVES),
    **_each("rrelu_with_noise", ("Half",)),
    **_each("_fft_c2c _fft_c2r _fft_r2c", _ALL_HALVES),
    **_each("acos acosh asin asinh atan atanh cos cosh exp log sin sinh tan tanh tanh_backward", _COMPLEX_HALF),
    **_each("angle logaddexp rsqrt sigmoid sigmoid_backward sqrt convolution", _COMPLEX_HALF),
    # The CPU knows float16, but for the gradient of weights it has nothing but a reference kernel, 200 times slower.
    **_each("convolution_backward", ("Half", "ComplexHalf")),
}

#: The same for these alone.
WIDER_TYPES = {
    **_each("div.Tensor div.out div_.Tensor lerp.Scalar lerp.Tensor", _COMPLEX_HALF),
    **_each("pow.Tensor_Tensor pow.Tensor_Scalar pow.Scalar pow_.Tensor", _COMPLEX_HALF),
    **_each("prod prod.dim_int sum sum.dim_IntList", _COMPLEX_HALF),
}


class Half(NamedTuple):
    """Where the native kernel of a half type is at most 1.3 times as slow as float32's, and within 2 ulp of it rounded.

    The words are those of `enum class Native` in csrc/forward/half/HalfRule.h.
    """

    bfloat16: str = "kNever"
    float16: str = "kNever"
    wide_results: int = 0  #: bit i: result i is float32 on a GPU
    elementwise: bool = False
    updates_statistics: bool = False  #: writes to running_mean and running_var, of which its schema says nothing


_BY_UNITS = Half("kWithUnits", "kWithUnits")
_BY_AMX = Half("kWithUnits", "kNever")
_NOT_FLOAT16 = Half("kAlways", "kNever")

#: Half types that are computed in float32 by csrc/forward/half, for all forms of the operators; measured on 2026-11-30
#: (docs/half-precision.md). Others are native.
HALVES_IN_FLOAT32 = {
    **dict.fromkeys(["mm", "addmm", "bmm", "baddbmm", "_addmm_activation"], _BY_UNITS),
    **dict.fromkeys(["_native_multi_head_attention", "_transformer_encoder_layer_fwd"], _BY_UNITS),
    **dict.fromkeys(["addbmm", "addmv", "mv", "addr", "_trilinear", "linalg_cross"], Half()),
    # oneDNN takes over where there are units, and is up to 90 times slower.
    **dict.fromkeys(["dot", "vdot"], Half("kWithoutUnits", "kWithoutUnits")),
    **dict.fromkeys(["convolution", "_convolution", "convolution_backward"], _BY_AMX),
    **dict.fromkeys(["_slow_conv2d_forward", "_slow_conv2d_backward", "slow_conv3d_forward"], Half()),
    **dict.fromkeys(["slow_conv_dilated2d", "slow_conv_dilated3d", "slow_conv_transpose2d"], Half()),
    "slow_conv_transpose3d": Half(),
    "_scaled_dot_product_flash_attention_for_cpu": _BY_AMX._replace(wide_results=0b10),
    "_scaled_dot_product_flash_attention_for_cpu_backward": Half(),
    **dict.fromkeys(
        ["grid_sampler_2d", "grid_sampler_2d_backward", "grid_sampler_3d", "grid_sampler_3d_backward"], Half()
    ),
    **dict.fromkeys(["upsample_linear1d", "upsample_linear1d_backward", "upsample_trilinear3d"], Half()),
    **dict.fromkeys(["upsample_trilinear3d_backward", "upsample_bicubic2d", "upsample_bicubic2d_backward"], Half()),
    **dict.fromkeys(["_adaptive_avg_pool2d", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d"], Half()),
    **dict.fromkeys(["_adaptive_avg_pool3d_backward", "adaptive_avg_pool2d", "adaptive_avg_pool3d"], Half()),
    "adaptive_avg_pool3d_backward": Half(),
    "adaptive_max_pool3d": _NOT_FLOAT16,
    "adaptive_max_pool3d_backward": _NOT_FLOAT16,
    "col2im": Half(),
    "native_batch_norm": Half(wide_results=0b110, updates_statistics=True),
    "native_batch_norm_backward": Half(),
    "_native_batch_norm_legit": Half(wide_results=0b110),
    "_batch_norm_with_update": Half(wide_results=0b110),
    "batch_norm_backward": Half(),
    "_log_softmax": Half(),
    "native_layer_norm": Half(wide_results=0b110),
    **dict.fromkeys(["native_layer_norm_backward", "native_group_norm", "native_group_norm_backward"], Half()),
    **dict.fromkeys(["std", "std_mean"], Half()),
    **dict.fromkeys(["linalg_vector_norm", "_foreach_norm"], _NOT_FLOAT16),
    **dict.fromkeys(["binary_cross_entropy", "binary_cross_entropy_backward", "index_reduce", "cumprod"], Half()),
    "huber_loss": Half("kNever", "kAlways"),
    "nll_loss2d_forward": _NOT_FLOAT16,
    **dict.fromkeys(["_embedding_bag_dense_backward", "fractional_max_pool2d", "fractional_max_pool3d"], Half()),
    **dict.fromkeys(["logit", "logit_backward", "erfinv", "special_ndtr"], Half(elementwise=True)),
    **dict.fromkeys(["log", "tan", "tanh", "xlogy"], Half(elementwise=True)),
}

#: at::native moves indices to the indexed tensor's device.
INDEXING = {"_index_put_impl_", "index.Tensor", "index.Tensor_out"}

MASKING = {"masked_fill_.Scalar", "masked_fill_.Tensor"}

CONVOLUTIONS = {"convolution", "_convolution"}


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
        or name in SPARSE_PARTS
        or "crow_" in name
        or "col_" in name
        or "row_indices" in name
    )


def wider_types_of(name: str) -> tuple[str, ...]:
    """See WIDER_TYPES_OF_ALL_FORMS; none for most operators."""
    functional = re.sub(r"(_|\.out|\.grad_input|\.output)$", "", name)
    return WIDER_TYPES_OF_ALL_FORMS.get(functional) or WIDER_TYPES.get(name, ())


def refused_types_of(function: NativeFunction) -> Refused | None:
    """See REFUSED_TYPES; None for most operators."""
    name = function.func.name
    return REFUSED_TYPES.get(str(name)) or REFUSED_TYPES.get(name.name.base)


def half_rule_of(function: NativeFunction) -> Half | None:
    """See HALVES_IN_FLOAT32; None for operators that are native."""
    return HALVES_IN_FLOAT32.get(function.func.name.name.base)


def writes_elements_only(function: NativeFunction) -> bool:
    """Whether the kernel cannot give the tensor it writes to other metadata: torch's structured ones check that."""
    return function.func.kind() is SchemaKind.inplace and function.structured_delegate is not None


def mixing_of(function: NativeFunction, operators: Operators) -> Mixing:
    name = str(function.func.name)
    if name.startswith("_nested"):  # sizes of nested tensors live on the CPU
        return Mixing.ANY_DEVICE
    if name in INDEXING:
        return Mixing.INDICES
    if name in MASKING:
        return Mixing.MASK
    if name in CONVOLUTIONS:
        return Mixing.CONVOLUTION
    if not operators.has_cpu_kernel(function):
        return Mixing.COMPOSITE
    if name.startswith("_fused_") and name.endswith("tensor_lr"):
        return Mixing.TENSOR_ITERATOR
    if function.device_check == DeviceCheckType.NoCheck or not operators.has_cuda_kernel(function):
        return Mixing.TENSOR_ITERATOR
    return Mixing.SAME_DEVICE
