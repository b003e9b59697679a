"""Dropout draws from CUDA's generator."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from tests.aten.curand_model import philox, uniform


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


def test_masks_bit_by_bit() -> None:
    """A thread of CUDA's kernel takes as many neighbours as it can load at once."""
    thread = np.arange(1 << 14, dtype=np.uint64)
    number = uniform(np.stack(philox([thread * 0, thread * 0, thread, thread * 0], 5), 1))
    for numel, together in ((4000, 4), (4002, 2), (4001, 1)):
        torch.cuda.manual_seed(5)
        result, mask = torch.native_dropout(torch.ones(numel, device="cuda"), 0.25, True)
        expected = number[: numel // together, :together].flatten() < np.float32(0.75)
        assert np.array_equal(mask.cpu().numpy(), expected), numel
        assert torch.equal(result, mask / 0.75)
        assert torch.cuda.default_generators[0].get_offset() == 4
    # More than the threads that an A100 runs: a second step.
    torch.cuda.manual_seed(5)
    x = torch.ones(4 * 108 * 2048 + 8, device="cuda")
    _, mask = torch.native_dropout(x, 0.25, True)
    second = uniform(np.stack(philox([np.ones(2, np.uint64), thread[:2] * 0, thread[:2], thread[:2] * 0], 5), 1))
    assert np.array_equal(mask[-8:].cpu().numpy(), second.flatten() < np.float32(0.75))


def test_elements_count_by_index_where_memory_does_not_say() -> None:
    dense = torch.randn(15, 7, device="cuda")
    for x in (dense.t(), dense.expand(3, 15, 7), dense[:, :5:2]):
        assert x.numel() % 2 == 1  # else CUDA loads several at once where memory is contiguous
        torch.cuda.manual_seed(5)
        result, mask = torch.native_dropout(x, 0.5, True)
        torch.cuda.manual_seed(5)
        _, plain = torch.native_dropout(torch.ones(x.numel(), device="cuda"), 0.5, True)
        assert torch.equal(mask.flatten(), plain)
        assert torch.equal(result, x * mask * 2)
        assert result.stride() == torch.empty_like(x).stride()


def test_what_has_gaps_is_loaded_one_by_one() -> None:
    """Also if there are as many elements as a thread could take together."""
    thread = np.arange(256, dtype=np.uint64)
    number = uniform(np.stack(philox([thread * 0, thread * 0, thread, thread * 0], 5), 1))[:, 0]
    torch.cuda.manual_seed(5)
    _, mask = torch.native_dropout(torch.ones(16, 32, device="cuda")[:, ::2], 0.25, True)
    assert np.array_equal(mask.flatten().cpu().numpy(), number < np.float32(0.75))
