"""Matrix products with out_dtype=, which torch has for CUDA alone, against products of widened matrices."""

from __future__ import annotations

import pytest
import torch

DTYPES = [torch.float16, torch.bfloat16]


def matrices(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to("cuda", dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_float32(dtype: torch.dtype) -> None:
    a, b, c = matrices(dtype, (3, 5), (5, 4), (3, 4))
    torch.testing.assert_close(torch.mm(a, b, out_dtype=torch.float32), a.float() @ b.float())
    torch.testing.assert_close(
        torch.addmm(c, a, b, out_dtype=torch.float32, beta=2, alpha=3), 2 * c.float() + 3 * (a.float() @ b.float())
    )
    x, y, z = matrices(dtype, (2, 3, 5), (2, 5, 4), (2, 3, 4))
    torch.testing.assert_close(torch.bmm(x, y, out_dtype=torch.float32), x.float() @ y.float())
    torch.testing.assert_close(
        torch.baddbmm(z, x, y, out_dtype=torch.float32, beta=2, alpha=3), 2 * z.float() + 3 * (x.float() @ y.float())
    )


def test_out() -> None:
    a, b = matrices(torch.float16, (3, 5), (5, 4))
    out = torch.empty(3, 4, device="cuda")
    assert torch.mm(a, b, out_dtype=torch.float32, out=out) is out
    torch.testing.assert_close(out, a.float() @ b.float())
    torch.addmm(torch.zeros(4, device="cuda", dtype=torch.float16), a, b, out_dtype=torch.float32, out=out)
    torch.testing.assert_close(out, a.float() @ b.float())
    batch = torch.empty(1, 3, 4, device="cuda")
    torch.bmm(a[None], b[None], out_dtype=torch.float32, out=batch)
    torch.testing.assert_close(batch[0], a.float() @ b.float())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_addend_may_have_either_type_and_is_broadcast(dtype: torch.dtype) -> None:
    a, b, c, row = matrices(dtype, (3, 5), (5, 4), (3, 4), (4,))
    product = a.float() @ b.float()
    for addend in (c, c.float(), row, row.float(), row[:1], c[:, :1].float()):
        result = torch.addmm(addend, a, b, out_dtype=torch.float32, beta=2, alpha=3)
        torch.testing.assert_close(result, 2 * addend.float() + 3 * product)
        assert torch.addmm(addend, a, b, out_dtype=torch.float32, out=result) is result
        torch.testing.assert_close(result, addend.float() + product)
        batch = torch.baddbmm(addend, a[None], b[None], out_dtype=torch.float32, beta=2, alpha=3)
        torch.testing.assert_close(batch[0], 2 * addend.float() + 3 * product)


def test_out_may_be_the_addend() -> None:
    a, b = matrices(torch.float16, (3, 5), (5, 4))
    product = a.float() @ b.float()
    out = torch.ones(3, 4, device="cuda")
    assert torch.addmm(out, a, b, out_dtype=torch.float32, out=out) is out
    torch.testing.assert_close(out, product + 1)
    batch = torch.ones(1, 3, 4, device="cuda")
    torch.baddbmm(batch, a[None], b[None], out_dtype=torch.float32, out=batch)
    torch.testing.assert_close(batch[0], product + 1)


def test_an_addend_that_counts_for_nothing_may_be_nan() -> None:
    a, b, c = matrices(torch.float16, (3, 5), (5, 4), (3, 4))
    product = a.float() @ b.float()
    nan = torch.full_like(c, torch.nan)
    torch.testing.assert_close(torch.addmm(nan, a, b, out_dtype=torch.float32, beta=0), product)
    torch.testing.assert_close(torch.baddbmm(nan, a[None], b[None], out_dtype=torch.float32, beta=0)[0], product)


def test_the_same_type_is_a_plain_product() -> None:
    a, b = matrices(torch.float32, (3, 5), (5, 4))
    assert torch.equal(torch.mm(a, b, out_dtype=torch.float32), a @ b)


def test_errors_are_those_of_cuda() -> None:
    """The texts are those of torch's native/cuda/Blas.cpp; they were not compared with a GPU."""
    a, b = matrices(torch.float16, (3, 5), (5, 4))
    wrong = "out_dtype must be the same as input dtype or fp32 for fp16/bf16 inputs"
    for call in (
        lambda: torch.mm(a, b, out_dtype=torch.float64),
        lambda: torch.addmm(a[:, :4], a, b, out_dtype=torch.float64),
        lambda: torch.bmm(a[None], b[None], out_dtype=torch.float64),
        lambda: torch.baddbmm(a[None, :, :4], a[None], b[None], out_dtype=torch.float64),
    ):
        with pytest.raises(RuntimeError, match=wrong):
            call()
    with pytest.raises(RuntimeError, match="input dtypes must be the same"):
        torch.mm(a, b.float(), out_dtype=torch.float32)
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(3x5 and 3x5\)"):
        torch.mm(a, a, out_dtype=torch.float32)
    with pytest.raises(RuntimeError, match="out_dtype must be the same as the dtype of the provided out tensor"):
        torch.mm(a, b, out_dtype=torch.float32, out=torch.empty(3, 4, device="cuda", dtype=torch.float16))
    with pytest.raises(RuntimeError, match=r"The size of tensor a \(4\) must match the size of tensor b \(5\)"):
        torch.baddbmm(a, a[None], b[None], out_dtype=torch.float32)
    with pytest.raises(RuntimeError, match="self must be a 3D tensor"):
        torch.baddbmm(a[:, :4], a[None], b[None], out_dtype=torch.float32, out=torch.empty(3, 4, device="cuda"))
    with pytest.raises(RuntimeError, match="self must have the same shape as the output"):
        torch.baddbmm(a[:, :4], a[None], b[None], out_dtype=torch.float32, out=torch.empty(1, 3, 5, device="cuda"))
    with pytest.raises(RuntimeError, match="self dtype must match either out_dtype or mat1 dtype"):
        torch.addmm(a[:, :4].double(), a, b, out_dtype=torch.float32)
    with pytest.raises(RuntimeError, match="self dtype must match either out_dtype or batch1 dtype"):
        torch.baddbmm(a[:, :4].double(), a[None], b[None], out_dtype=torch.float32)
    with pytest.raises(RuntimeError, match="mat1 and mat2 must have the same dtype, but got Half and Float"):
        torch.addmm(a[:, :4], a, b.float(), out_dtype=torch.float32)
    with pytest.raises(RuntimeError, match="self dim 1 must match mat2 dim 1"):
        torch.mm(a, b, out_dtype=torch.float32, out=torch.empty(3, 5, device="cuda"))
    with pytest.raises(RuntimeError, match="mat1 must be a matrix, got 1-D tensor"):
        torch.addmm(a[:, :4], a[0], b, out_dtype=torch.float32)


@pytest.mark.skipif(not hasattr(torch.nn.functional, "linear_cross_entropy"), reason="came with torch 2.13")
def test_linear_cross_entropy_of_bfloat16() -> None:
    """It asks for such products on cuda alone."""
    x, weight = (t.requires_grad_() for t in matrices(torch.bfloat16, (8, 16), (10, 16)))
    target = torch.arange(8, device="cuda")
    loss = torch.nn.functional.linear_cross_entropy(x, weight, target)
    loss.backward()
    wide_x, wide_weight = (t.detach().float().requires_grad_() for t in (x, weight))
    expected = torch.nn.functional.cross_entropy(wide_x @ wide_weight.t(), target)
    expected.backward()
    torch.testing.assert_close(loss.float(), expected, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(weight.grad.float(), wide_weight.grad, rtol=5e-2, atol=1e-2)
