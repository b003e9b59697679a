"""Compiled programs: time on cuda over time on cpu, and over the same programs uncompiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.pairs import paired_ratio
from benchmarks.programs import PROGRAMS

#: Elements: what fits the first-level cache, and what does not fit the second.
SIZES = (1_000, 1_000_000)


def chain(x: Tensor, y: Tensor) -> Tensor:
    """Pointwise operators that become one kernel."""
    return torch.tanh(x * y + x.sin()) * 0.5 + (x - y).abs().sqrt() * torch.sigmoid(y) - x.square()


def chain_on(device: str, size: int, function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
    return partial(function, torch.randn(size, device=device), torch.randn(size, device=device))


def training_on(device: str, compiled: bool) -> Callable[[], float]:
    program = PROGRAMS["GPT"](device)
    if compiled:
        program.model = torch.compile(program.model)  # type: ignore[assignment]
    return program.train


def pairs(first: tuple[str, bool], second: tuple[str, bool]) -> dict[str, float]:
    """Two ways, each a device and whether compiled, as ratios of their times."""
    function = {True: torch.compile(chain, dynamic=False), False: chain}
    result = {
        f"pointwise chain of {size:,}": paired_ratio(
            *(chain_on(device, size, function[compiled]) for device, compiled in (first, second)), rounds=51
        )
        for size in SIZES
    }
    return {**result, "GPT training step": paired_ratio(training_on(*first), training_on(*second), budget=0.05)}


def ratios() -> dict[str, float]:
    """Cuda over cpu, both compiled."""
    return pairs(("cuda", True), ("cpu", True))


def gains() -> dict[str, float]:
    """Compiled over uncompiled, both on cuda."""
    return pairs(("cuda", True), ("cuda", False))
