"""Sums and means of complex numbers that are not all numbers, which torch has for CUDA alone."""

from __future__ import annotations

import pytest
import torch

NAN = torch.nan
NUMBERS = [[1 + 2j, complex(NAN, 1), 3], [complex(1, NAN), 4 - 1j, complex(NAN, NAN)]]
DTYPES = [torch.complex32, torch.complex64, torch.complex128]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums(dtype: torch.dtype) -> None:
    x = torch.tensor(NUMBERS, device="cuda").to(dtype)
    assert x.nansum().dtype == dtype
    assert x.nansum().to(torch.complex128).item() == 8 + 1j
    assert x.nansum(1).to(torch.complex128).tolist() == [4 + 2j, 4 - 1j]
    assert x.nansum(0, keepdim=True).to(torch.complex128).tolist() == [[1 + 2j, 4 - 1j, 3]]
    assert x.nansum(dtype=torch.complex128).dtype == torch.complex128
    assert x.to(torch.complex64).conj().nansum().item() == 8 - 1j


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_means(dtype: torch.dtype) -> None:
    x = torch.tensor(NUMBERS, device="cuda", dtype=dtype)
    assert x.nanmean().dtype == dtype
    assert x.nanmean(1).tolist() == [2 + 1j, 4 - 1j]


def test_out() -> None:
    x = torch.tensor(NUMBERS, device="cuda", dtype=torch.complex64)
    out = torch.empty(2, device="cuda", dtype=torch.complex64)
    assert torch.nansum(x, 1, out=out) is out
    assert out.tolist() == [4 + 2j, 4 - 1j]
    with pytest.raises(RuntimeError, match="^nansum: provided dtype must match dtype of result. Got ComplexFloat and"):
        torch.nansum(x, 1, dtype=torch.complex128, out=out)


def test_gradients() -> None:
    x = torch.tensor(NUMBERS, device="cuda", requires_grad=True)
    x.nansum().real.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 0, 1], [0, 1, 0]]
    y = torch.randn(3, 4, dtype=torch.complex128, device="cuda", requires_grad=True)
    assert torch.autograd.gradcheck(torch.nansum, (y,))
    assert torch.autograd.gradcheck(torch.nanmean, (y,))


def test_real_numbers_as_before() -> None:
    x = torch.tensor([1.0, NAN, 2.0], device="cuda")
    assert x.nansum().item() == 3
    assert x.nansum(dtype=torch.float64).dtype == torch.float64
