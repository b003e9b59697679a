"""LU factors without pivoting, which torch has for CUDA alone."""

from __future__ import annotations

import pytest
import torch

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
SHAPES = [
    (1, 1),
    (2, 2),
    (5, 5),
    (33, 33),
    (7, 4),
    (4, 7),
    (1, 5),
    (5, 1),
    (3, 6, 6),
    (2, 3, 5, 4),
    (0, 0),
    (0, 3),
    (2, 0, 0),
    (0, 4, 4),
]


def dominant(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A matrix that needs no pivots."""
    a = torch.randn(shape, dtype=dtype, device="cuda")
    return a + 2 * max(shape[-2:]) * torch.eye(*shape[-2:], dtype=dtype, device="cuda")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_product_of_the_factors_is_the_matrix(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    a = dominant(shape, dtype)
    factors, pivots = torch.linalg.lu_factor(a, pivot=False)
    rank = min(shape[-2:])
    assert factors.shape == a.shape
    assert factors.mT.is_contiguous()
    assert pivots.dtype == torch.int32
    assert pivots.equal(torch.arange(1, rank + 1, dtype=torch.int32, device="cuda").expand(*shape[:-2], rank))
    permutation, lower, upper = torch.linalg.lu(a, pivot=False)
    assert permutation.shape == (0,)
    torch.testing.assert_close(lower @ upper, a)
    assert lower.equal(lower.tril())
    assert upper.equal(upper.triu())


@pytest.mark.filterwarnings("ignore:torch.lu is deprecated")
def test_every_function_that_factors() -> None:
    a = dominant((3, 4, 4), torch.float64)
    factors, pivots, info = torch.linalg.lu_factor_ex(a, pivot=False)
    assert info.tolist() == [0, 0, 0]
    assert info.dtype == torch.int32
    out = torch.empty(0, dtype=a.dtype, device="cuda"), pivots.new_empty(0), info.new_empty(0)
    torch.linalg.lu_factor_ex(a, pivot=False, out=out)
    assert all(map(torch.equal, out, (factors, pivots, info)))
    parts = [torch.empty(0, dtype=a.dtype, device="cuda") for _ in range(3)]
    torch.linalg.lu(a, pivot=False, out=parts)
    torch.testing.assert_close(parts[1] @ parts[2], a)
    assert torch.lu(a, pivot=False)[0].equal(factors)
    b = torch.randn(3, 4, 2, dtype=a.dtype, device="cuda")
    torch.testing.assert_close(a @ torch.linalg.lu_solve(factors, pivots, b), b)


def test_gradients() -> None:
    a = dominant((4, 4), torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: torch.linalg.lu(x, pivot=False)[1:], (a,))
    assert torch.autograd.gradcheck(lambda x: torch.linalg.lu_factor(x, pivot=False)[0], (a,))


def test_a_pivot_that_is_zero_is_counted() -> None:
    a = torch.tensor([[[1.0, 2], [3, 4]], [[0, 2], [3, 4]], [[1, 2], [2, 4]]], device="cuda")
    factors, _, info = torch.linalg.lu_factor_ex(a, pivot=False)
    assert info.tolist() == [0, 1, 2]
    assert factors[1].tolist() == [[0, 2], [3, -2]]
    with pytest.raises(RuntimeError, match=r"torch.linalg.lu_factor_ex: \(Batch element 1\): U\[1,1\] is zero"):
        torch.linalg.lu_factor_ex(a, pivot=False, check_errors=True)
    with pytest.raises(RuntimeError, match=r"torch.linalg.lu_factor: U\[1,1\] is zero"):
        torch.linalg.lu_factor(a[1], pivot=False)


def test_what_has_no_factors() -> None:
    with pytest.raises(RuntimeError, match="Expected tensor with 2 or more dimensions. Got size"):
        torch.linalg.lu_factor(torch.ones(3, device="cuda"), pivot=False)
    with pytest.raises(RuntimeError, match="\"lu_cuda\" not implemented for 'Half'"):
        torch.linalg.lu_factor(torch.ones(3, 3, device="cuda").half(), pivot=False)
    wrong = torch.empty(3, 3, device="cuda", dtype=torch.float64)
    info = torch.empty(0, device="cuda", dtype=torch.int32)
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype float, but got double instead"):
        torch.linalg.lu_factor_ex(torch.eye(3, device="cuda"), pivot=False, out=(wrong, info, info.clone()))
