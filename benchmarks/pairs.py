"""Ratios of two things that run in turns, so that both share what else the machine is doing."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

Run = Callable[[], object]


def seconds(run: Run, repeats: int) -> float:
    """Seconds of one run, as the mean of `repeats`."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def repeats_for(run: Run, budget: float) -> int:
    """How often to run for about `budget` seconds."""
    run()
    return max(1, int(budget / max(seconds(run, 3), 1e-9)))


def paired_ratio(cuda: Run, cpu: Run, *, rounds: int = 31, budget: float = 0.01) -> float:
    """Median of the ratios cuda / cpu of neighbouring turns, each of about `budget` seconds."""
    repeats = max(repeats_for(cuda, budget), repeats_for(cpu, budget))
    gc.collect()
    gc.disable()
    try:
        return statistics.median(seconds(cuda, repeats) / seconds(cpu, repeats) for _ in range(rounds))
    finally:
        gc.enable()
