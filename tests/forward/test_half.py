"""Halves as a GPU computes them: in float32, rounded once, wherever the CPU's own kernels are slow or inexact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conftest import RunPython
from torchdevice import _C

HALVES = [torch.float16, torch.bfloat16]
OVER_THE_CPU = _C.native_backend_name() == "cpu"


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to("cuda", dtype)


Run = Callable[..., torch.Tensor]

#: Operators that no processor computes in halves, and the shapes of their arguments.
IN_FLOAT32: dict[str, tuple[Run, tuple[tuple[int, ...], ...]]] = {
    "addmv": (torch.addmv, ((6,), (6, 5), (5,))),
    "addr": (torch.addr, ((6, 5), (6,), (5,))),
    "addbmm": (torch.addbmm, ((4, 6), (3, 4, 5), (3, 5, 6))),
    "cross": (torch.linalg.cross, ((9, 3), (9, 3))),
    "sdpa_backward": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), ((2, 2, 9, 8),) * 3),
    "grid_sample": (lambda x, g: F.grid_sample(x, g, align_corners=False), ((2, 3, 8, 8), (2, 5, 5, 2))),
    "grid_sample_3d": (lambda x, g: F.grid_sample(x, g, align_corners=False), ((1, 2, 4, 4, 4), (1, 3, 3, 3, 3))),
    "interpolate_linear": (lambda x: F.interpolate(x, scale_factor=2, mode="linear"), ((2, 3, 9),)),
    "interpolate_trilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), ((1, 2, 4, 5, 6),)),
    "interpolate_bicubic": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), ((1, 2, 5, 6),)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, 3), ((2, 3, 7, 8),)),
    "adaptive_avg_pool3d": (lambda x: F.adaptive_avg_pool3d(x, 2), ((2, 3, 5, 6, 7),)),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True), ((4, 3, 5),)),
    "instance_norm": (lambda x: F.instance_norm(x), ((2, 3, 16),)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (16,), w, b), ((5, 16), (16,), (16,))),
    "logit": (lambda x: torch.logit(x.sigmoid().detach(), 1e-3) * x, ((64,),)),
    "erfinv": (lambda x: torch.erfinv(x.tanh().detach() * 0.9) * x, ((64,),)),
    "ndtr": (lambda x: torch.special.ndtr(x.detach()) * x, ((64,),)),
    "fold": (lambda x: F.fold(x, 6, 3), ((2, 9, 16),)),
}


@pytest.mark.skipif(not OVER_THE_CPU, reason="MPS has kernels of its own for halves")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", IN_FLOAT32)
def test_results_and_gradients_are_those_of_float32_rounded_once(name: str, dtype: torch.dtype) -> None:
    run, shapes = IN_FLOAT32[name]
    halves = [random(*shape, dtype=dtype, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    wide = [half.detach().float().requires_grad_() for half in halves]
    ours, reference = run(*halves), run(*wide)
    assert ours.dtype == dtype
    if name != "sdpa_backward":  # halves and float32 have other kernels on CUDA, with other strides
        assert ours.stride() == reference.stride()
    exact = name not in ("logit", "erfinv", "ndtr", "sdpa_backward")
    compare(ours, reference, exact=exact)
    gradient = random(*ours.shape, dtype=dtype, seed=7)
    for mine, expected in zip(
        torch.autograd.grad(ours, halves, gradient), torch.autograd.grad(reference, wide, gradient.float()), strict=True
    ):
        assert mine.dtype == dtype
        # What the forward pass saved may have been rounded.
        compare(mine, expected, exact=exact and name not in ("batch_norm", "instance_norm"))


def compare(ours: torch.Tensor, reference: torch.Tensor, *, exact: bool) -> None:
    rounded = reference.to(ours.dtype)
    if exact:
        assert torch.equal(ours, rounded)
    else:
        torch.testing.assert_close(ours, rounded, rtol=4 * torch.finfo(ours.dtype).eps, atol=1e-2)


PRODUCTS = """
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    for dtype in (torch.float16, torch.bfloat16):
        def random(*shape):
            return torch.randn(shape).to("cuda", dtype)
        for run, arguments in [
            (torch.mm, (random(17, 19), random(19, 23))),
            (torch.addmm, (random(23), random(17, 19), random(19, 23))),
            (torch.bmm, (random(3, 7, 5), random(3, 5, 4))),
            (torch.bmm, (random(3, 7, 5), random(1, 5, 4).expand(3, 5, 4))),
            (torch.mm, (random(19, 17).t(), random(23, 38)[:, ::2].t())),
            (torch.baddbmm, (random(3, 7, 4), random(3, 7, 5), random(3, 5, 4))),
            (torch.mv, (random(7, 5), random(5))),
            (torch.dot, (random(50), random(50))),
            (F.conv1d, (random(2, 4, 9), random(6, 4, 3))),
            (F.conv2d, (random(2, 4, 9, 9), random(6, 4, 3, 3))),
            (F.conv2d, (random(2, 4, 9, 9).to(memory_format=torch.channels_last), random(6, 4, 3, 3), random(6))),
            (F.conv3d, (random(1, 2, 5, 5, 5), random(3, 2, 3, 3, 3))),
            (F.conv_transpose2d, (random(2, 4, 5, 5), random(4, 6, 3, 3))),
            (F.scaled_dot_product_attention, (random(2, 2, 9, 8), random(2, 2, 9, 8), random(2, 2, 9, 8))),
        ]:
            halves = [one.detach().requires_grad_() for one in arguments]
            wide = [one.detach().float().requires_grad_() for one in arguments]
            ours, reference = run(*halves), run(*wide)
            assert ours.dtype == dtype, run
            assert ours.stride() == reference.stride() or run is F.scaled_dot_product_attention
            assert torch.equal(ours, reference.to(dtype)), run
            seed = random(*ours.shape)
            reference_grads = torch.autograd.grad(reference, wide, seed.float())
            for mine, expected in zip(torch.autograd.grad(ours, halves, seed), reference_grads):
                torch.testing.assert_close(mine, expected.to(dtype), rtol=4 * torch.finfo(dtype).eps, atol=2e-2)
"""


@pytest.mark.skipif(not OVER_THE_CPU, reason="MPS has kernels of its own for halves")
@pytest.mark.parametrize(
    "environment",
    [
        {"TORCHDEVICE_HALF": "float32"},
        {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
        {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    ],
    ids=["by the setting", "AVX2", "SSE"],
)
def test_products_on_processors_without_units_for_halves(run_python: RunPython, environment: dict[str, str]) -> None:
    run_python(PRODUCTS, **environment)


def test_an_unknown_value_of_the_setting(run_python: RunPython) -> None:
    process = run_python("import torch; print(torch.cuda.is_available())", TORCHDEVICE_HALF="float16")
    assert "TORCHDEVICE_HALF must be native or float32, got 'float16'" in process.stderr
    assert process.stdout == "False\n"


@pytest.mark.parametrize("value", ["native", "float32"])
def test_what_the_setting_says(run_python: RunPython, value: str) -> None:
    process = run_python("from torchdevice import _C; import torch; print(_C.half_rule())", TORCHDEVICE_HALF=value)
    assert process.stdout == f"{value} (TORCHDEVICE_HALF)\n"


def test_what_is_said_of_a_processor_without_units(run_python: RunPython) -> None:
    process = run_python("import torch; from torchdevice import _C; print(_C.half_rule())", ONEDNN_MAX_CPU_ISA="AVX2")
    assert process.stdout == "products of bfloat16 float32, of float16 float32 (no units for halves)\n"


def test_kernels_of_the_cpu_where_the_setting_asks_for_them(run_python: RunPython) -> None:
    run_python(
        """
        import torch

        x = torch.rand(50, generator=torch.Generator().manual_seed(0)).bfloat16()
        assert torch.equal(x.cuda().logit().cpu(), x.logit())
        """,
        TORCHDEVICE_HALF="native",
    )


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [7, 100_003])
def test_elementwise_operators_of_any_size_and_form(size: int, dtype: torch.dtype) -> None:
    x = (torch.rand(size, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01).to("cuda", dtype)
    expected = x.float().logit().to(dtype)
    assert torch.equal(x.logit(), expected)
    assert torch.equal(x[::2].logit(), expected[::2])
    out = torch.empty_like(x)
    assert torch.logit(x, out=out) is out
    assert torch.equal(out, expected)
    spread = torch.zeros(2 * size, device="cuda", dtype=dtype)
    torch.logit(x, out=spread[::2])
    assert torch.equal(spread[::2], expected)
    assert spread[1::2].count_nonzero() == 0
    same = x.clone()
    version = same._version
    assert same.logit_() is same
    assert torch.equal(same, expected)
    assert same._version == version + 1


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
@pytest.mark.parametrize("dtype", HALVES)
def test_operands_that_repeat_and_have_gaps(dtype: torch.dtype) -> None:
    x = torch.randn(4, 1, 12, device="cuda").to(dtype)[..., ::2].expand(4, 3, 6)
    assert torch.equal((x @ x.mT).float(), (x.contiguous() @ x.contiguous().mT).float())
    for name in ("softmax", "cumprod"):
        assert torch.equal(getattr(x, name)(1), getattr(x.contiguous(), name)(1))


@pytest.mark.parametrize("dtype", HALVES)
def test_errors_name_the_type_that_the_caller_gave(dtype: torch.dtype) -> None:
    x = torch.ones(3, device="cuda", dtype=dtype)
    name = "BFloat16" if dtype is torch.bfloat16 else "Half"
    with pytest.raises(
        RuntimeError, match=rf"^dot : expected both vectors to have same dtype, but found {name} and Bool$"
    ):
        torch.dot(x, x > 0)
    with pytest.raises(RuntimeError, match=r"^(mm: )?mat1 and mat2 shapes cannot be multiplied \(1x3 and 2x3\)$"):
        x[None] @ x.expand(2, 3)


@pytest.mark.parametrize("dtype", HALVES)
def test_out_is_the_callers_tensor_with_its_strides(dtype: torch.dtype) -> None:
    matrix, vector = random(6, 5, dtype=dtype), random(5, dtype=dtype)
    expected = torch.mv(matrix.float(), vector.float()).to(dtype)
    spread = torch.zeros(12, device="cuda", dtype=dtype)
    torch.mv(matrix, vector, out=spread[::2])
    assert torch.equal(spread[::2], expected)
    small = torch.zeros(2, device="cuda", dtype=dtype)
    assert torch.mv(matrix, vector, out=small) is small
    assert torch.equal(small, expected)


@pytest.mark.parametrize("dtype", HALVES)
def test_out_of_another_type_is_refused_as_ever(dtype: torch.dtype) -> None:
    matrix, vector = random(6, 5, dtype=dtype), random(5, dtype=dtype)
    messages = []
    for device in ("cuda", "cpu"):
        with pytest.raises(RuntimeError) as raised:
            torch.mm(matrix.to(device), matrix.t().to(device), out=torch.empty(6, 6, device=device))
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    name = "c10::Half" if dtype == torch.float16 else "c10::BFloat16"
    with pytest.raises(RuntimeError, match=f"Expected out tensor to have dtype {name}, but got float instead"):
        torch.mm(matrix, matrix.t(), out=torch.empty(6, 6, device="cuda"))
    # An elementwise operator may write to a wider type, and does.
    out = torch.empty(5, device="cuda")
    torch.logit(vector.sigmoid(), out=out)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


def test_both_halves_at_once_are_refused_as_by_cuda() -> None:
    half, brain = random(4, 4, dtype=torch.float16), random(4, 4, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="expected m1 and m2 to have the same dtype, but got: c10::Half != c10::BFl"):
        torch.mm(half, brain)
    with pytest.raises(RuntimeError, match=r"Input type \(CUDABFloat16Type\) and weight type \(torch.cuda.Half"):
        F.conv2d(brain.view(1, 1, 4, 4), half.view(1, 1, 4, 4))


@pytest.mark.parametrize("dtype", HALVES)
def test_more_than_the_largest_float16_is_infinite(dtype: torch.dtype) -> None:
    large = torch.full((4, 4), 200.0, device="cuda", dtype=dtype)
    expected = float("inf") if dtype == torch.float16 else 160_000.0
    assert torch.mm(large, large).allclose(torch.full((4, 4), expected, device="cuda", dtype=dtype), rtol=0.01)
    # Sums beyond it that come back are finite: they are float32 until the end.
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0], device="cuda", dtype=dtype)
    assert torch.mv(large * 200, signs).tolist() == [0.0] * 4


@pytest.mark.parametrize("dtype", HALVES)
def test_results_that_are_no_halves_stay_what_they_are(dtype: torch.dtype) -> None:
    x = random(1, 2, 6, 6, 6, dtype=dtype)
    values, indices = F.adaptive_max_pool3d(x, 2, return_indices=True)
    assert (values.dtype, indices.dtype) == (dtype, torch.int64)
    assert indices.is_cuda
    assert torch.equal(x.flatten(2).gather(2, indices.flatten(2)), values.flatten(2))


@pytest.mark.skipif(not OVER_THE_CPU, reason="MPS has kernels of its own for halves")
@pytest.mark.parametrize("dtype", HALVES)
def test_statistics_of_norms_are_float32_as_on_a_gpu(dtype: torch.dtype) -> None:
    x = random(4, 6, dtype=dtype)
    _, mean, rstd = torch.native_layer_norm(x, (6,), None, None, 1e-5)
    assert (mean.dtype, rstd.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(mean, x.float().mean(1, keepdim=True))


@pytest.mark.parametrize("dtype", HALVES)
def test_running_statistics_follow_in_training_alone(dtype: torch.dtype) -> None:
    norm = torch.nn.BatchNorm1d(3).to("cuda", dtype)
    wide = torch.nn.BatchNorm1d(3).cuda()
    x = random(8, 3, 5, dtype=dtype)
    norm(x), wide(x.float())
    assert torch.equal(norm.running_mean, wide.running_mean.to(dtype))
    assert torch.equal(norm.running_var, wide.running_var.to(dtype))
    assert norm.num_batches_tracked == 1
    before = norm.running_mean.clone()
    norm.eval()(x + 1)
    assert torch.equal(norm.running_mean, before)


def test_weights_of_float32_beside_halves() -> None:
    norm = torch.nn.LayerNorm(6).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        assert norm(random(4, 6, dtype=torch.bfloat16)).dtype == torch.float32
    mean, variance, weight, bias = random(4, 3).abs()
    mixed = F.batch_norm(random(4, 3, 5, dtype=torch.bfloat16), mean, variance, weight, bias, training=True)
    assert mixed.dtype == torch.bfloat16


@pytest.mark.skipif(not OVER_THE_CPU, reason="MPS has an allocator of its own")
@pytest.mark.parametrize("dtype", HALVES)
def test_copies_are_in_no_statistic(dtype: torch.dtype) -> None:
    matrix, vector = random(256, 256, dtype=dtype), random(256, dtype=dtype)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = torch.mv(matrix, vector)
    assert torch.cuda.memory_allocated() - before == 512
    assert torch.cuda.max_memory_allocated() - before == 512
    del result
    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize("dtype", HALVES)
def test_weights_that_change_unseen(dtype: torch.dtype) -> None:
    weight, x = torch.nn.Parameter(random(5, 6, dtype=dtype)), random(6, dtype=dtype)
    for factor in (1, 2, 4):
        assert torch.equal(torch.mv(weight, x), (weight.detach().float() @ x.float()).to(dtype))
        weight.data.mul_(factor)
    weight.data = weight.data * 3
    assert torch.equal(torch.mv(weight, x), (weight.detach().float() @ x.float()).to(dtype))


@pytest.mark.skipif(not OVER_THE_CPU, reason="MPS has kernels of its own for halves")
def test_overlapping_memory_is_refused_as_ever() -> None:
    x = torch.rand(10, device="cuda", dtype=torch.float16)
    with pytest.raises(RuntimeError, match="unsupported operation: some elements of the input tensor and the written"):
        torch.logit(x[:-1], out=x[1:])
    with pytest.raises(RuntimeError, match="unsupported operation: more than one element of the written-to tensor"):
        torch.rand(1, device="cuda", dtype=torch.float16).expand(3).logit_()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers(kind: str, dtype: torch.dtype, run_python: RunPython) -> None:
    run_python(
        f"""
        import copy
        import torch

        torch.manual_seed(0)
        module = torch.nn.{kind}(5, 7, 2, bidirectional=True).to("cuda", {dtype})
        wide = copy.deepcopy(module).float()
        x = torch.randn(6, 3, 5).to("cuda", {dtype})
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, [6, 4, 2])
        output, _ = module(x)
        assert output.dtype == {dtype}
        assert torch.equal(output, wide(x.float())[0].to({dtype}))
        assert torch.equal(module(packed)[0].data, wide(packed.float())[0].data.to({dtype}))
        output.sum().backward()
        wide(x.float())[0].sum().backward()
        for ours, reference in zip(module.parameters(), wide.parameters()):
            assert ours.grad.dtype == {dtype}
            torch.testing.assert_close(ours.grad, reference.grad.to({dtype}), rtol=0.02, atol=0.02)
        with torch.autocast("cuda", {dtype}):
            output, states = wide(x.float())
        assert output.dtype == {dtype}
        """,
        TORCHDEVICE_HALF="float32",
        TORCHDEVICE_BACKEND="cpu",
    )


def test_lists_of_tensors() -> None:
    tensors = [random(40, dtype=torch.float16, seed=i) * 100 for i in range(3)]
    norms = torch._foreach_norm(tensors)
    for norm, tensor in zip(norms, tensors, strict=True):
        assert torch.equal(norm, tensor.float().norm().half())


def test_threads(run_python: RunPython) -> None:
    run_python(
        """
        import threading
        import torch

        x = (torch.rand(200_000) * 0.98 + 0.01).half().cuda()
        expected = x.float().logit().half()
        matrix = torch.randn(300, 300).half().cuda()
        product = (matrix.float() @ matrix[0].float()).half()
        wrong = []
        def work():
            for _ in range(20):
                if not torch.equal(x.logit(), expected) or not torch.equal(matrix @ matrix[0], product):
                    wrong.append(1)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not wrong
        """
    )


@pytest.mark.skipif(not OVER_THE_CPU, reason="over MPS a forked child cannot go on")
def test_a_forked_child(run_python: RunPython) -> None:
    run_python(
        """
        import os
        import torch

        torch.set_num_threads(1)
        x = torch.rand(100_000).half().cuda()
        expected = x.logit(1e-3)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(x.logit(1e-3), expected) else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
        TORCHDEVICE_FORK="allow",
    )


def test_the_setting_is_documented(root: Path) -> None:
    assert "TORCHDEVICE_HALF" in (root / "docs/half-precision.md").read_text(encoding="utf-8")
