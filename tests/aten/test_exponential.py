"""The exponential distribution draws no zeros on CUDA."""

from __future__ import annotations

import pytest
import torch


def test_half_precision_has_no_zeros() -> None:
    torch.cuda.manual_seed(0)
    x = torch.empty(1 << 26, dtype=torch.half, device="cuda").exponential_()
    assert x.min().item() >= 2.0**-24
    assert x.exponential_(torch.inf).max().item() == 0.0


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float, torch.double])
def test_mean_and_generator(dtype: torch.dtype) -> None:
    generator = torch.Generator("cuda").manual_seed(1)
    x = torch.empty(100_000, dtype=dtype, device="cuda").exponential_(2.0, generator=generator)
    assert x.float().mean().item() == pytest.approx(0.5, rel=0.02)
    generator.manual_seed(1)
    assert torch.equal(x, torch.empty_like(x).exponential_(2.0, generator=generator))
    version = x._version
    assert x.exponential_() is x
    assert x._version == version + 1
