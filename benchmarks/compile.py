"""Time of compiled programs, cuda over native CPU, in turns within one process; and what compiling gains on cuda.

`python -m benchmarks`, or alone: `python -m benchmarks.compile`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.training import Training

#: Elements: what fits the first-level cache, and what does not fit the second.
SIZES = (1_000, 1_000_000)


@dataclass(frozen=True)
class Speed:
    """Ratios of times."""

    program: str
    cuda_over_cpu: float
    uncompiled_over_compiled: float


def chain(x: Tensor, y: Tensor) -> Tensor:
    """Pointwise operators that become one kernel."""
    return torch.tanh(x * y + x.sin()) * 0.5 + (x - y).abs().sqrt() * torch.sigmoid(y) - x.square()


def chain_on(device: str, size: int, function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], float]:
    x, y = torch.randn(size, device=device), torch.randn(size, device=device)
    repeats = max(1, 100_000 // size)

    def run() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            function(x, y)
        return time.perf_counter() - start

    return run


def training_on(device: str, compiled: bool = True) -> Callable[[], float]:
    training = Training(device)
    if compiled:
        training.model = torch.compile(training.model)  # type: ignore[assignment]
    return training.step


def ratio(first: Callable[[], float], second: Callable[[], float], runs: int) -> float:
    """Median of the ratios of neighbouring runs."""
    for _ in range(3):
        first()
        second()
    return statistics.median(first() / second() for _ in range(runs))


def measure() -> list[Speed]:
    compiled = torch.compile(chain, dynamic=False)
    speeds = []
    for size in SIZES:
        cuda, cpu, plain = (
            chain_on("cuda", size, compiled),
            chain_on("cpu", size, compiled),
            chain_on("cuda", size, chain),
        )
        speeds.append(Speed(f"pointwise chain of {size:,}", ratio(cuda, cpu, 101), ratio(plain, cuda, 51)))
    cuda, cpu, plain = training_on("cuda"), training_on("cpu"), training_on("cuda", compiled=False)
    return [*speeds, Speed("GPT training step", ratio(cuda, cpu, 41), ratio(plain, cuda, 21))]


def show(speeds: list[Speed]) -> None:
    print(f"{'compiled':30} {'cuda/cpu':>8} {'gain':>6}")
    for speed in speeds:
        print(f"{speed.program:30} {speed.cuda_over_cpu:8.3f} {speed.uncompiled_over_compiled:6.2f}")


if __name__ == "__main__":
    show(measure())
