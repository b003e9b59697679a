"""Which errors of MPS's kernels lead to the CPU, and which reach the user (make test-mps).

The texts of refusals are strings of libtorch_cpu.dylib in torch 2.13.0's wheel for macOS that Linux's library lacks,
with names and types filled in where the kernels do.
"""

from __future__ import annotations

import pytest
import torch

from tests.conftest import RunPython
from tests.native.counted import Counted, simulated
from torchdevice import _C

pytestmark = pytest.mark.skipif(_C.native_backend_name() != "mps", reason="for the MPS backend: make test-mps")

REFUSALS = (
    """
Adaptive pool MPS: input sizes must be divisible by output sizes. Non-divisible input sizes are not implemented on MPS \
device yet. For now, you can manually transfer tensor to cpu in this case.
Batch norm for complex is not supported for MPS
Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please use float32 instead.
ConvTranspose 3D with BF16 or FP16 types is not supported on MPS
Convolution is supported only for Floating types
Failed to create function state object for: add_alpha_dense_cast_int_bool
Failed to created pipeline state object, error: too much threadgroup memory
LSTM with projections is not currently supported with MPS.
Long batch norm is not supported with MPS
MPS device does not support addbmm or baddbmm for this input type
MPS device does not support linear for non-float weights
MPS: Unsupported Bicubic interpolation
MPS: The constant padding of more than 3 dimensions is not currently supported natively.
MPSGraph does not support tensor dims larger than INT_MAX
Not implemented for complex
Not implemented for long on MPS
Only float and half dtypes are supported
Only float, bfloat and half are supported
Output channels > 65536 not supported at the MPS device.
Output dim sizes larger than 2**32 elements for matmul not supported on MPS device.
The operator 'aten::frexp.Tensor' is not currently implemented for the MPS device.
Trying to convert Double to the MPS backend but it does not have support for that dtype.
Unsupported data type: Long
Unsupported head_dim for prefill attention: 96
Unsupported reduction type: mean
bincount is not supported for Bool
bitwise_left_shift not implemented for Float
cholesky_inverse: MPS only supports float type!
frac_out_mps is only implemented for floating types
gcd_mps not implemented for Float
grid_sampler_3d backward on MPS only supports bilinear and nearest interpolation
histogram is only supported for float32
index_reduce for MPS does not support torch.long dtype
linalg.lu_factor(): MPS doesn't support complex types.
linalg.solve.triangular(); Only float is supported!
linalg_inv: not supported for complex types yet!
linalg_qr: MPS currently supports float32 only
logit_mps: only defined for floating types
masked_fill not supported for tensors of more than 2**32 elements
mode only supports CPU, CUDA and XPU device type, got: mps
mps_linear_backward: unsupported weights data type: Int
normal_kernel_mps not implemented for 'Long'
only strided tensors are supported on MPS
random_mps handles only integral, floating-point and boolean types
scaled_dot_product_attention for MPS does not support dropout.
scatter_reduce: reduce='mean' not implemented for 'Bool'
softmax only supported for floating types
softmax with half to float conversion is not supported on MPS
unfold_backward_mps :Only up to 16-dim tensors supported
upsample for MPS does not support complex inputs
The tensor has 17 dimensions, which exceeds Metal max of 16
MPS supports tensors with dimensions <= 16, but got 17.
Tiling of batch matmul for larger than 2**32 entries only available from MacOS15 onwards
reduction type not supported
""".replace("\\\n", "")
    .strip()
    .splitlines()
)

#: Of the same library.
ERRORS = """
Adaptive pool MPS: Input height and width must both be greater than, or equal to, or lesser than output height and width
Dilation must be greater than 0 but got 0
MPS: reduction dim must be in the range of input shape
binary_cross_entropy: target and input tensors must have identical shapes
index_copy_(): the only valid index for a 0-dim tensor is 0, but got 5
stride must either be omitted, a single int, or a tuple of two ints
""".strip().splitlines()


@pytest.mark.parametrize("text", REFUSALS)
def test_what_mps_does_not_have_runs_on_the_cpu(text: str) -> None:
    x = torch.arange(3.0, device="cuda")
    assert torch.ops.mps_simulator.failing(x, text).tolist() == [0, 1, 2]


@pytest.mark.parametrize("text", ERRORS)
def test_errors_of_the_user_reach_the_user_as_the_cpu_says_them(text: str) -> None:
    x = torch.arange(3.0, device="cuda")
    with Counted() as counted, pytest.raises(RuntimeError) as raised:
        torch.ops.mps_simulator.failing_twice(x, text)
    assert str(raised.value).startswith(text)
    assert counted.calls("mps_simulator::failing_twice") == (0, 0)


#: Of the same library: no words that tell a refusal, but the CPU does what was asked.
FAILURES = """
value cannot be converted to type double without overflow
start == 0 || start < input_size INTERNAL ASSERT FAILED at "Pad.mm":71, please report a bug to PyTorch.
[srcBuf length] > 0 INTERNAL ASSERT FAILED at "OperationUtils.mm":612, please report a bug to PyTorch.
Expected self.is_complex() to be true, but got false.
kernel data offsets can't be computed using 32-bit iterator of shape [3]
`N` times `num_groups` must be less than 2^32
embedding_dense_backward_mps: tensor is larger than INT32_MAX
Current limit allows up to 16 indices to be used in MPS indexing kernels
Unable to safely factor shape for grid dimensions.
Failed to create metal library, error: no compiler
""".strip().splitlines()


@pytest.mark.parametrize("text", FAILURES)
def test_what_fails_over_mps_alone_runs_on_the_cpu_and_is_asked_again(text: str) -> None:
    x = torch.arange(3.0, device="cuda")
    before = simulated("refusals")
    for _ in range(2):
        assert torch.ops.mps_simulator.failing(x, text).tolist() == [0, 1, 2]
    assert simulated("refusals") == before + 2


def test_the_report_says_with_which_words_mps_failed(run_python: RunPython) -> None:
    run_python(
        """
        import torch, torchdevice
        x = torch.arange(3.0, device="cuda")
        torch.ops.mps_simulator.failing(x, "no grid for this")
        reasons = {one.name: one.reason for one in torchdevice.report().operators}
        assert reasons["mps_simulator::failing"] == "MPS failed where the CPU does not: no grid for this", reasons
        """
    )


def test_nothing_is_asked_of_the_cpu_where_falling_back_is_an_error(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        x = torch.arange(3.0, device="cuda")
        try:
            torch.ops.mps_simulator.failing(x, "no grid for this")
        except RuntimeError as error:
            assert str(error).startswith("no grid for this"), error
        else:
            raise AssertionError("it fell back")
        """,
        TORCHDEVICE_FALLBACK="error",
    )


def test_refused_sizes_are_not_remembered_for_others() -> None:
    small, large = torch.zeros(2, 1, 1, 1, device="cuda"), torch.zeros(9, 1, 1, 1, device="cuda")
    with Counted() as counted:
        for _ in range(2):
            torch.ops.mps_simulator.no_more_than_(large, 4)
            torch.ops.mps_simulator.no_more_than_(small, 4)
    assert counted.calls("mps_simulator::no_more_than_") == (2, 2)
    assert small.unique().tolist() == [2]
    assert large.unique().tolist() == [20]  # what MPS had added before it refused was put back, each time
