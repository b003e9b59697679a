"""Triton's kernels on cuda tensors, through its interpreter. Most is skipped without Triton, whose wheel is large."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch

from tests.conftest import RunPython

NOTICE = "Triton: there is no NVIDIA GPU to compile kernels for; torchdevice has Triton's interpreter run them"

try:
    import triton
    import triton.language as tl
    from triton.language.extra import libdevice as generic_libdevice
    from triton.language.extra.cuda import libdevice as cuda_libdevice
except ImportError:
    triton = None

needs_triton = pytest.mark.skipif(triton is None, reason="triton is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Triton"),
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),
]


def test_the_setting_is_made_when_triton_is_imported(run_python: RunPython, tmp_path: Path) -> None:
    """With a package that has Triton's names, as CI installs none."""
    package = tmp_path / "triton"
    package.mkdir()
    (package / "__init__.py").write_text("from triton import knobs\n")
    (package / "knobs.py").write_text("class _Runtime:\n    interpret = False\nruntime = _Runtime()\n")
    code = "import torch, triton, os; print(triton.knobs.runtime.interpret, os.environ.get('TRITON_INTERPRET'))"
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    assert run_python(code, **paths, TRITON_INTERPRET=None).stdout == "True None\n"
    assert run_python(code, **paths, TRITON_INTERPRET="0").stdout == "False 0\n"


def test_torchs_own_kernels_in_triton_are_not_used(run_python: RunPython, tmp_path: Path) -> None:
    """torch/_native has a few for device cuda, and takes them where a package triton of version 3.6 is installed."""
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("raise ImportError('nobody may ask')\n")
    metadata = tmp_path / "triton-3.6.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: triton\nVersion: 3.6.0\n")
    code = """
    import torch
    left, right = torch.rand(2, 3, 1), torch.rand(2, 1, 4)
    assert torch.equal((left.cuda() @ right.cuda()).cpu(), left @ right)
    assert not torch._native.registry.get_dsl_operations("triton")
    """
    run_python(code, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


if triton is not None:

    @triton.jit
    def add_kernel(x, y, out, count, block: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.program_id(0) * block + tl.arange(0, block)
        mask = at < count
        tl.store(out + at, tl.load(x + at, mask=mask) + tl.load(y + at, mask=mask), mask=mask)

    @triton.jit
    def softmax_kernel(x, out, stride, columns, block: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.arange(0, block)
        row = tl.load(x + tl.program_id(0) * stride + at, mask=at < columns, other=-float("inf"))
        row = tl.exp(row - tl.max(row, 0))
        tl.store(out + tl.program_id(0) * columns + at, row / tl.sum(row, 0), mask=at < columns)

    @triton.autotune([triton.Config({"block": 16}), triton.Config({"block": 32})], key=["inner"])
    @triton.jit
    def product_kernel(a, b, out, rows, columns, inner, block: tl.constexpr):  # type: ignore[no-untyped-def]
        row = tl.program_id(0) * block + tl.arange(0, block)
        column = tl.program_id(1) * block + tl.arange(0, block)
        total = tl.zeros((block, block), tl.float32)
        for start in range(0, inner, block):
            k = start + tl.arange(0, block)
            left = tl.load(a + row[:, None] * inner + k, mask=(row[:, None] < rows) & (k < inner), other=0.0)
            right = tl.load(
                b + k[:, None] * columns + column, mask=(k[:, None] < inner) & (column < columns), other=0.0
            )
            total += tl.dot(left, right, input_precision="ieee")
        tl.store(out + row[:, None] * columns + column, total, mask=(row[:, None] < rows) & (column < columns))

    @triton.jit
    def attention_kernel(q, k, v, out, length, scale, features: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
        """One block of queries of one head; keys block by block, with a running maximum and sum."""
        head = tl.program_id(1) * length * features
        row = tl.program_id(0) * block + tl.arange(0, block)
        feature = tl.arange(0, features)
        query = tl.load(q + head + row[:, None] * features + feature, mask=row[:, None] < length, other=0.0)
        best = tl.full((block,), -float("inf"), tl.float32)
        norm = tl.zeros((block,), tl.float32)
        total = tl.zeros((block, features), tl.float32)
        for start in range(0, (tl.program_id(0) + 1) * block, block):
            column = start + tl.arange(0, block)
            at = head + column[:, None] * features + feature
            key = tl.load(k + at, mask=column[:, None] < length, other=0.0)
            scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
            scores = tl.where((column <= row[:, None]) & (column < length), scores, -float("inf"))
            new_best = tl.maximum(best, tl.max(scores, 1))
            weights = tl.exp(scores - new_best[:, None])
            shrink = tl.exp(best - new_best)
            norm = norm * shrink + tl.sum(weights, 1)
            value = tl.load(v + at, mask=column[:, None] < length, other=0.0)
            total = total * shrink[:, None] + tl.dot(weights, value, input_precision="ieee")
            best = new_best
        tl.store(out + head + row[:, None] * features + feature, total / norm[:, None], mask=row[:, None] < length)

    @triton.jit
    def cast_kernel(x, out, count: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.arange(0, count)
        tl.store(out + at, tl.load(x + at).to(out.dtype.element_ty))

    @triton.jit
    def arithmetic_kernel(x, y, out, factor, count: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.arange(0, count)
        left, right = tl.load(x + at), tl.load(y + at)
        larger = tl.where(left > right, left, right)
        tl.store(out + at, tl.maximum(left * right - 2, -left) / (larger + 1) * factor.to(left.dtype))

    @triton.jit
    def libdevice_kernel(x, out, count: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.arange(0, count)
        number = tl.load(x + at)
        tl.store(out + at, generic_libdevice.tanh(number) + cuda_libdevice.rsqrt(cuda_libdevice.abs(number)))

    @triton.jit
    def dot_kernel(a, b, out, size: tl.constexpr, precision: tl.constexpr):  # type: ignore[no-untyped-def]
        row, column = tl.arange(0, size)[:, None], tl.arange(0, size)[None, :]
        left, right = tl.load(a + row * size + column), tl.load(b + row * size + column)
        product = tl.dot(left, right, input_precision=precision)
        tl.store(out + row * size + column, product.to(out.dtype.element_ty))

    @triton.jit
    def count_kernel(x, out, count: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.arange(0, count)
        tl.atomic_add(out + at % 2, tl.load(x + at))


@needs_triton
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_casts_round_to_nearest(dtype: torch.dtype) -> None:
    numbers = torch.cat([torch.randn(510) * 100, torch.tensor([127.66, 84.0])]).cuda()
    out = torch.empty_like(numbers, dtype=dtype)
    cast_kernel[(1,)](numbers, out, count=512)
    assert torch.equal(out.float(), numbers.to(dtype).float())
    back = torch.empty_like(numbers)
    cast_kernel[(1,)](out, back, count=512)
    assert torch.equal(back, out.float())


@needs_triton
def test_casts_to_integers_saturate() -> None:
    numbers = torch.tensor([2.9, -2.9, 1e20, -1e20], device="cuda")
    out = torch.empty(4, dtype=torch.int32, device="cuda")
    cast_kernel[(1,)](numbers, out, count=4)
    assert out.tolist() == [2, -2, 2**31 - 1, -(2**31)]
    cast_kernel[(1,)](numbers.bfloat16(), out, count=4)
    assert out.tolist() == [2, -2, 2**31 - 1, -(2**31)]


@needs_triton
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_arithmetic(dtype: torch.dtype) -> None:
    x, y = (torch.rand(256, device="cuda").to(dtype) for _ in range(2))
    out = torch.empty_like(x)
    arithmetic_kernel[(1,)](x, y, out, 1.5, count=256)
    larger = torch.where(x > y, x, y)
    expected = (torch.maximum(x * y - 2, -x) / (larger + 1)) * torch.tensor(1.5, dtype=dtype, device="cuda")
    torch.testing.assert_close(out, expected)


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_libdevice(dtype: torch.dtype) -> None:
    x = torch.randn(256, device="cuda", dtype=dtype)
    out = torch.empty_like(x)
    libdevice_kernel[(1,)](x, out, count=256)
    torch.testing.assert_close(out, x.tanh() + x.abs().rsqrt())


@needs_triton
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_products_of_halves_add_up_in_float32(dtype: torch.dtype) -> None:
    a, b = (torch.randn(64, 64, device="cuda").to(dtype) for _ in range(2))
    out = torch.empty(64, 64, device="cuda")
    dot_kernel[(1,)](a, b, out, size=64, precision="ieee")
    torch.testing.assert_close(out, a.float() @ b.float())
    rounded = torch.empty_like(a)
    dot_kernel[(1,)](a, b, rounded, size=64, precision="ieee")
    torch.testing.assert_close(rounded, (a.float() @ b.float()).to(dtype))


@needs_triton
def test_products_in_tf32() -> None:
    a, b = (torch.randn(64, 64, device="cuda") for _ in range(2))
    out = torch.empty(64, 64, device="cuda")
    dot_kernel[(1,)](a, b, out, size=64, precision="tf32")
    error = ((out - a.double() @ b.double()).norm() / (a @ b).norm()).item()
    assert 1e-4 < error < 6e-4
    one = torch.full((16, 16), 1 + 2.0**-12, device="cuda")
    out = torch.empty(16, 16, device="cuda")
    dot_kernel[(1,)](one, one, out, size=16, precision="tf32")
    assert out.eq(16).all()


@needs_triton
def test_atomic_sums_in_bfloat16() -> None:
    x = torch.arange(8.0, device="cuda").bfloat16()
    out = torch.zeros(2, device="cuda", dtype=torch.bfloat16)
    count_kernel[(2,)](x, out, count=8)
    assert out.tolist() == [24, 32]


def add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    add_kernel[(triton.cdiv(x.numel(), 64),)](x, y, out, x.numel(), block=64)
    return out


@needs_triton
def test_vector_add_on_views_of_one_storage() -> None:
    both = torch.randn(400, device="cuda")
    x, y = both[1:151], both[200:350]
    assert torch.equal(add(x, y), x + y)


@needs_triton
def test_softmax() -> None:
    x = torch.randn(5, 50, device="cuda")
    out = torch.empty_like(x)
    softmax_kernel[(5,)](x, out, x.stride(0), 50, block=64)
    torch.testing.assert_close(out, torch.softmax(x, 1))


@needs_triton
def test_autotuned_product() -> None:
    a, b = torch.randn(33, 40, device="cuda"), torch.randn(40, 20, device="cuda")
    out = torch.empty(33, 20, device="cuda")
    product_kernel[lambda meta: (triton.cdiv(33, meta["block"]), triton.cdiv(20, meta["block"]))](a, b, out, 33, 20, 40)
    torch.testing.assert_close(out, a @ b)


@needs_triton
def test_fused_causal_attention() -> None:
    q, k, v = (torch.randn(1, 2, 40, 16, device="cuda") for _ in range(3))
    out = torch.empty_like(q)
    attention_kernel[(triton.cdiv(40, 16), 2)](q, k, v, out, 40, 1 / math.sqrt(16), features=16, block=16)
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))


@needs_triton
def test_a_kernel_inside_a_compiled_function() -> None:
    x, y = torch.randn(100, device="cuda"), torch.randn(100, device="cuda")
    compiled = torch.compile(lambda x, y: add(x.sin(), y) + 1, backend="eager")
    torch.testing.assert_close(compiled(x, y), x.sin() + y + 1)


@needs_triton
def test_the_driver_answers_as_torch_does() -> None:
    driver = triton.runtime.driver.active
    assert driver.get_active_torch_device() == torch.device("cuda", 0)
    target = driver.get_current_target()
    major, minor = torch.cuda.get_device_capability()
    assert (target.backend, target.arch) == ("cuda", 10 * major + minor)
    properties = driver.utils.get_device_properties(0)
    assert properties["multiprocessor_count"] == torch.cuda.get_device_properties(0).multi_processor_count
    with pytest.raises(
        RuntimeError, match="Triton compiles kernels for an NVIDIA GPU, but device cuda is torchdevice's"
    ):
        driver.utils.load_binary("name", b"", 0, 0)
    assert triton.testing.do_bench(lambda: None, warmup=1, rep=1) >= 0


@needs_triton
def test_said_once(run_python: RunPython, tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(
        """
import torch, triton, triton.language as tl

@triton.jit
def fill(x):
    tl.store(x + tl.program_id(0), 1.0)

x = torch.zeros(3, device="cuda")
for _ in range(2):
    fill[(3,)](x)
print(x.tolist())
"""
    )
    process = run_python(f"import runpy; runpy.run_path(r'{tmp_path / 'kernels.py'}')", TRITON_INTERPRET=None)
    assert process.stdout == "[1.0, 1.0, 1.0]\n"
    assert process.stderr.count(NOTICE) == 1
    assert "kernels.py:" in process.stderr
    quiet = run_python(f"import runpy; runpy.run_path(r'{tmp_path / 'kernels.py'}')", TRITON_INTERPRET="1")
    assert NOTICE not in quiet.stderr
