"""Ratios of two things that run in turns, so that both share what else the machine is doing."""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable

Run = Callable[[], object]
#: Runs something as often as it is told, and returns the seconds of one run.
Timer = Callable[[int], float]


def seconds(run: Run, repeats: int) -> float:
    """Seconds of one run, as the mean of `repeats`."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def repeats_for(timer: Timer, budget: float) -> int:
    """How often to run for about `budget` seconds."""
    timer(1)
    return max(1, int(budget / max(timer(3), 1e-9)))


def ratio_of_turns(cuda: Timer, cpu: Timer, *, rounds: int, budget: float) -> float:
    """Median over the rounds of cuda's time over cpu's. Each has two turns a round, of about `budget` seconds each.

    The order of the turns favours neither: cuda, cpu, cpu, cuda. Where it matters who is first, single turns would give
    a ratio and its inverse by turns, whose mean is above 1.
    """
    repeats = max(repeats_for(cuda, budget), repeats_for(cpu, budget))
    ratios = []
    for _ in range(rounds):
        first, second, third, fourth = (timer(repeats) for timer in (cuda, cpu, cpu, cuda))
        ratios.append((first + fourth) / (second + third))
    return statistics.median(ratios)


def paired_ratio(cuda: Run, cpu: Run, *, rounds: int = 15, budget: float = 0.01) -> float:
    """The same of two things that run in this process."""
    gc.collect()
    gc.disable()
    try:
        return ratio_of_turns(
            functools.partial(seconds, cuda), functools.partial(seconds, cpu), rounds=rounds, budget=budget
        )
    finally:
        gc.enable()
