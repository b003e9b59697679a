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
    """Median of the ratios cuda / cpu of neighbouring turns, each of about `budget` seconds.

    They take it in turns to be first, so that the order favours neither.
    """
    repeats = max(repeats_for(cuda, budget), repeats_for(cpu, budget))
    ratios = []
    for number in range(rounds):
        order = (cuda, cpu) if number % 2 == 0 else (cpu, cuda)
        taken = {timer: timer(repeats) for timer in order}
        ratios.append(taken[cuda] / taken[cpu])
    return statistics.median(ratios)


def paired_ratio(cuda: Run, cpu: Run, *, rounds: int = 31, budget: float = 0.01) -> float:
    """The same of two things that run in this process."""
    gc.collect()
    gc.disable()
    try:
        return ratio_of_turns(
            functools.partial(seconds, cuda), functools.partial(seconds, cpu), rounds=rounds, budget=budget
        )
    finally:
        gc.enable()
