"""Dropout draws from CUDA's generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812


def test_cuda_seed_decides_and_the_cpu_generator_rests() -> None:
    x = torch.ones(1000, device="cuda")
    cpu_state = torch.get_rng_state()
    torch.cuda.manual_seed(7)
    first = F.dropout(x, 0.5)
    torch.cuda.manual_seed(7)
    assert torch.equal(first, F.dropout(x, 0.5))
    assert not torch.equal(first, F.dropout(x, 0.5))
    assert torch.equal(cpu_state, torch.get_rng_state())


def test_rate_scale_and_gradient() -> None:
    x = torch.ones(100_000, device="cuda", requires_grad=True)
    y = F.dropout(x, 0.25)
    kept = (y != 0).float().mean().item()
    assert abs(kept - 0.75) < 0.01
    assert torch.equal(y[y != 0], torch.full_like(y[y != 0], 1 / 0.75))
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_evaluation_and_extremes() -> None:
    x = torch.randn(10, device="cuda")
    assert torch.equal(F.dropout(x, 0.5, training=False), x)
    assert torch.equal(F.dropout(x, 0.0), x)
    assert F.dropout(x, 1.0).abs().sum().item() == 0.0
    for module in (torch.nn.Dropout1d(0.5), torch.nn.AlphaDropout(0.5), torch.nn.FeatureAlphaDropout(0.5)):
        assert module(torch.randn(3, 4, 5, device="cuda")).is_cuda
