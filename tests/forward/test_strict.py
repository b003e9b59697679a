"""What a GPU refuses and the native backend could do: CUDA's errors, unless TORCHDEVICE_STRICT is 0."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conftest import RunPython

INTEGERS = {
    "Byte": torch.uint8, "Char": torch.int8, "Short": torch.int16, "Int": torch.int32, "Long": torch.int64,
}  # fmt: skip


def whole(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype, device="cuda")


PRODUCTS: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], object], str]] = {
    "mm": (lambda a, b: a @ b, "addmm_cuda"),
    "mm out": (lambda a, b: torch.mm(a, b, out=torch.empty_like(a)), "addmm_cuda"),
    "addmm_": (lambda a, b: a.clone().addmm_(a, b), "addmm_cuda"),
    "linear": (lambda a, b: F.linear(a, b, b[0]), "addmm_cuda"),
    "einsum": (lambda a, b: torch.einsum("ij,jk->ik", a, b), "baddbmm_cuda"),
    "tensordot": (lambda a, b: torch.tensordot(a, b, 1), "addmm_cuda"),
    "multi_dot": (lambda a, b: torch.linalg.multi_dot([a, b, a]), "addmm_cuda"),
    "addbmm": (lambda a, b: torch.addbmm(a, a[None], b[None]), "addmm_cuda"),
    "bmm": (lambda a, b: a[None] @ b[None], "baddbmm_cuda"),
    "baddbmm": (lambda a, b: torch.baddbmm(a[None], a[None], b[None]), "baddbmm_cuda"),
    "bilinear": (lambda a, b: F.bilinear(a, b, a[None]), "baddbmm_cuda"),
    "mv": (lambda a, b: a @ b[0], "addmv_impl_cuda"),
    "addmv": (lambda a, b: torch.addmv(b[0], a, b[0]), "addmv_impl_cuda"),
    "dot": (lambda a, b: a[0] @ b[0], "dot"),
    "vdot": (lambda a, b: torch.vdot(a[0], b[0]), "dot"),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("said", INTEGERS)
def test_products_of_integers(name: str, said: str) -> None:
    call, kernel = PRODUCTS[name]
    with pytest.raises(NotImplementedError) as caught:
        call(whole(4, 4, dtype=INTEGERS[said]), whole(4, 4, dtype=INTEGERS[said]))
    assert str(caught.value) == f"\"{kernel}\" not implemented for '{said}'"


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
def test_written_tensors_stay_as_they_were() -> None:
    a, out = whole(4, 4), whole(4, 4) * 7
    with pytest.raises(NotImplementedError):
        torch.mm(a, a, out=out)
    with pytest.raises(NotImplementedError):
        out.addmm_(a, a)
    assert out.eq(7).all()
    small = whole(2)
    with pytest.raises(NotImplementedError):
        torch.mm(a, a, out=small)
    assert small.shape == (2,)


def test_sizes_and_types_are_wrong_first() -> None:
    with pytest.raises(RuntimeError, match=r"^(mm: )?mat1 and mat2 shapes cannot be multiplied \(2x3 and 2x3\)$"):
        whole(2, 3) @ whole(2, 3)
    with pytest.raises(RuntimeError, match="expected m1 and m2 to have the same dtype, but got: long int != float"):
        whole(2, 3) @ torch.ones(3, 2, device="cuda")
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        whole(2, 3) @ whole(3, 2).cpu()


def test_nothing_to_do_is_never_refused() -> None:
    assert (whole(0, 3) @ whole(3, 2)).shape == (0, 2)
    assert (whole(2, 0) @ whole(0, 2)).eq(0).all()
    assert torch.addmm(whole(2, 2), whole(2, 0), whole(0, 2)).eq(1).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: F.conv2d(whole(1, 1, 4, 4), whole(1, 1, 2, 2)), "Long"),
        (lambda: F.conv1d(whole(1, 1, 4, dtype=torch.int32), whole(1, 1, 2, dtype=torch.int32)), "Int"),
        (lambda: F.conv_transpose3d(whole(1, 1, 4, 4, 4), whole(1, 1, 2, 2, 2)), "Long"),
    ],
)
def test_convolutions_of_integers(call: Callable[[], object], text: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        call()
    assert str(caught.value) == f"getCudnnDataTypeFromScalarType() not supported for {text}"


def test_convolutions_of_integers_without_cudnn() -> None:
    with torch.backends.cudnn.flags(enabled=False), pytest.raises(NotImplementedError) as caught:
        F.conv2d(whole(1, 1, 4, 4), whole(1, 1, 2, 2))
    assert str(caught.value) == "\"slow_conv2d_cuda\" not implemented for 'Long'"


BYTES = torch.uint8
KERNELS: list[tuple[Callable[[], object], str]] = [
    (lambda: F.avg_pool1d(whole(1, 4), 2), "\"avg_pool2d_out_cuda_frame\" not implemented for 'Long'"),
    (lambda: F.avg_pool2d(whole(1, 4, 4), 2), "\"avg_pool2d_out_cuda_frame\" not implemented for 'Long'"),
    (lambda: F.avg_pool3d(whole(1, 4, 4, 4), 2), "\"avg_pool3d_out_cuda\" not implemented for 'Long'"),
    (lambda: F.max_pool1d(whole(1, 4), 2), "\"max_pool2d_with_indices_out_cuda_frame\" not implemented for 'Long'"),
    (lambda: F.max_pool2d(whole(1, 4, 4), 2), "\"max_pool2d_with_indices_out_cuda_frame\" not implemented for 'Long'"),
    (lambda: F.max_pool3d(whole(1, 4, 4, 4), 2), "\"max_pool3d_with_indices_out_frame\" not implemented for 'Long'"),
    (
        lambda: F.interpolate(whole(1, 1, 4, 4, dtype=BYTES), scale_factor=2, mode="bilinear"),
        "\"upsample_bilinear2d_out_frame\" not implemented for 'Byte'",
    ),
    (
        lambda: F.interpolate(whole(1, 1, 4, 4, dtype=BYTES), scale_factor=2, mode="bicubic"),
        "\"upsample_bicubic2d_out_frame\" not implemented for 'Byte'",
    ),
    (
        lambda: F.interpolate(whole(1, 1, 4, 4, dtype=BYTES), scale_factor=2, mode="bicubic", antialias=True),
        "\"upsample_bilinear2d_out_frame\" not implemented for 'Byte'",
    ),
    (lambda: torch.igamma(whole(3).half(), whole(3).half()), "\"igamma_cuda\" not implemented for 'Half'"),
    (lambda: torch.igammac(whole(3).bfloat16(), whole(3)), "\"igammac_cuda\" not implemented for 'BFloat16'"),
    (lambda: whole(3).half().angle(), "\"angle_cuda\" not implemented for 'Half'"),
    (lambda: whole(3).bfloat16().histc(), "\"histc\" not implemented for 'BFloat16'"),
    (
        lambda: whole(3).bool().scatter_reduce(0, whole(3) * 0, whole(3).bool(), "amax"),
        "\"cuda_scatter_gather_base_kernel_func\" not implemented for 'Bool'",
    ),
    (
        lambda: whole(3).cfloat().scatter_reduce(0, whole(3) * 0, whole(3).cfloat(), "prod"),
        "\"cuda_scatter_gather_base_kernel_func\" not implemented for 'ComplexFloat'",
    ),
    (
        lambda: whole(3).bool().scatter_(0, whole(3) * 0, True, reduce="multiply"),
        "\"cuda_scatter_fill_base_kernel_reduce_multiply\" not implemented for 'Bool'",
    ),
]


@pytest.mark.parametrize(("call", "text"), KERNELS)
def test_types_that_cudas_kernels_do_not_know(call: Callable[[], object], text: str) -> None:
    with pytest.raises(NotImplementedError) as caught:
        call()
    assert str(caught.value) == text


def test_sums_know_all_types() -> None:
    where = whole(3) * 0
    assert whole(3).bool().scatter_reduce(0, where, whole(3).bool(), "sum").all()
    assert whole(3).cfloat().scatter_(0, where, 1j, reduce="add").isfinite().all()


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_half_precision_fft() -> None:
    text = (
        "cuFFT only supports dimensions whose sizes are powers of two when computing in half precision, but got a "
        "signal size of"
    )
    x = torch.ones(3, 8, device="cuda", dtype=torch.half)
    assert torch.fft.rfft(x).shape == (3, 5)
    assert torch.fft.irfft(torch.fft.rfft(x)).shape == (3, 8)
    for call, sizes in [
        (lambda: torch.fft.rfft(x, n=12), "[12]"),
        (lambda: torch.fft.fft(x, dim=0), "[3]"),
        (lambda: torch.fft.fft2(x), "[3, 8]"),
        (lambda: torch.fft.irfft(torch.fft.rfft(x), n=6), "[6]"),
    ]:
        with pytest.raises(RuntimeError) as caught:
            call()
        assert str(caught.value) == text + sizes
    assert torch.fft.rfft(x.bfloat16().float(), n=12).shape == (3, 7)


@pytest.mark.parametrize("make", [lambda: torch.nn.LayerNorm(4), lambda: torch.nn.GroupNorm(2, 4)])
def test_normalisation_of_mixed_types(make: Callable[[], torch.nn.Module]) -> None:
    layer = make().cuda()
    x = torch.randn(2, 4, device="cuda")
    for type_of_x, type_of_layer, text in [
        (torch.half, torch.float, "expected scalar type Half but found Float"),
        (torch.float, torch.bfloat16, "expected scalar type Float but found BFloat16"),
        (torch.double, torch.float, "expected scalar type Double but found Float"),
    ]:
        with pytest.raises(RuntimeError) as caught:
            layer.to(type_of_layer)(x.to(type_of_x))
        assert str(caught.value) == text
    assert layer.half()(x.half()).dtype == torch.half
    assert layer.float()(x).dtype == torch.float


def test_sizes_of_int_mm() -> None:
    a, b = whole(32, 16, dtype=torch.int8), whole(16, 8, dtype=torch.int8)
    assert torch._int_mm(a, b).eq(16).all()
    for left, right, text in [
        (a[:16], b, "self.size(0) needs to be greater than 16, but got 16"),
        (a[:, :12], b[:12], "self.size(1) needs to be greater than 0 and a multiple of 8, but got 12"),
        (a, b[:8], "self.size(1) needs to match mat2.size(0) but got 16 and 8"),
        (a, b[:, :4], "mat2.size(1) needs to be greater than 0 and a multiple of 8, but got 4"),
    ]:
        with pytest.raises(RuntimeError) as caught:
            torch._int_mm(left, right)
        assert str(caught.value) == text


def test_types_of_float8_products() -> None:
    def multiply(left: torch.dtype, right: torch.dtype) -> torch.Tensor:
        one = torch.tensor(1.0, device="cuda")
        x = torch.ones(16, 16, device="cuda")
        return torch._scaled_mm(x.to(left), x.to(right).t(), one, one, out_dtype=torch.bfloat16)

    assert multiply(torch.float8_e4m3fn, torch.float8_e5m2).eq(16).all()
    with pytest.raises(RuntimeError, match="^Multiplication of two Float8_e5m2 matrices is not supported$"):
        multiply(torch.float8_e5m2, torch.float8_e5m2)
    with pytest.raises(RuntimeError, match=r"^Cannot convert ScalarType Float8_e4m3fnuz to cudaDataType\.$"):
        multiply(torch.float8_e4m3fnuz, torch.float8_e4m3fnuz)


def test_operators_that_cuda_lacks() -> None:
    x = torch.rand(10, device="cuda")
    text = "Could not run 'aten::histogram.bin_ct' with arguments from the 'CUDA' backend."
    with pytest.raises(NotImplementedError, match=text):
        torch.histogram(x, 3)
    with pytest.raises(NotImplementedError, match="Could not run 'aten::_histogramdd_bin_edges'"):
        torch.histogramdd(x[:, None], [3])


def test_attention_kernels_types() -> None:
    q = torch.randn(1, 4, 2, 8, device="cuda")
    with pytest.raises(RuntimeError, match="^FlashAttention only support fp16 and bf16 data type$"):
        torch.ops.aten._flash_attention_forward(q, q, q, None, None, 4, 4, 0.0, False, False)
    q = q.double()
    with pytest.raises(RuntimeError, match="^Only fp32, half & bf16 supported at the moment$"):
        torch.ops.aten._efficient_attention_forward(q, q, q, None, None, None, None, None, 0.0, 0)


LENIENT = """
    import torch
    i = torch.arange(4, device="cuda").view(2, 2)
    print((i @ i).tolist(), torch.histogram(torch.ones(3, device="cuda"), 2).hist.tolist())
    print(torch.nn.LayerNorm(4, device="cuda")(torch.ones(2, 4, device="cuda", dtype=torch.half)).dtype)
    print(torch.linalg.lstsq(i.float(), i.float(), driver="gelsd").rank.item())
    try:
        torch.ones(3, device="cuda")[torch.tensor([7], device="cuda")]
    except torch.AcceleratorError as error:
        print(str(error).splitlines()[0])
    print(torch.ones(2, device="cuda").sum().item())
"""


def test_lenient(run_python: RunPython) -> None:
    assert run_python(LENIENT, TORCHDEVICE_STRICT="0").stdout.splitlines() == [
        "[[2, 3], [6, 11]] [0.0, 3.0]",
        "torch.float16",
        "2",
        "CUDA error: device-side assert triggered",
        "2.0",
    ]


LOST = """
    import torch
    x = torch.ones(3, device="cuda")
    event = torch.cuda.Event()
    event.record()
    calls = [
        lambda: x[torch.tensor([7], device="cuda")],
        lambda: x + 1,
        lambda: x.cpu(),
        lambda: x.zero_(),
        torch.cuda.synchronize,
        torch.cuda.current_stream().synchronize,
        event.synchronize,
        event.query,
    ]
    for call in calls:
        try:
            call()
        except torch.AcceleratorError as error:
            print(str(error).splitlines()[0], error.error_code)
    print(torch.ones(2).sum().item())
"""


def test_a_lost_context(run_python: RunPython) -> None:
    lines = run_python(LOST, TORCHDEVICE_STRICT="2").stdout.splitlines()
    assert lines == ["CUDA error: device-side assert triggered 710"] * 8 + ["2.0"]


def test_unknown_value(run_python: RunPython) -> None:
    result = run_python("import torch; print(torch.cuda.is_available())", TORCHDEVICE_STRICT="yes")
    assert "TORCHDEVICE_STRICT must be 0, 1 or 2, got 'yes'" in result.stderr
