"""Compiled programs: time on cuda over time on cpu, and on each device over the same programs uncompiled.

What dynamo does before each call (guards, the way into the compiled function) is the same on both devices and more than
the operators of a small program take: there the second ratio is above 1 on either.
"""

from __future__ import annotations

import functools
import gc
import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.fresh import FreshProcess
from benchmarks.pairs import Timer, ratio_of_turns, seconds
from benchmarks.programs import PROGRAMS


class Way(NamedTuple):
    """How a program runs."""

    device: str
    compiled: bool


def chain(x: Tensor, y: Tensor) -> Tensor:
    """Pointwise operators that become one kernel."""
    return torch.tanh(x * y + x.sin()) * 0.5 + (x - y).abs().sqrt() * torch.sigmoid(y) - x.square()


def chain_of(size: int, way: Way) -> Callable[[], Tensor]:
    function = torch.compile(chain, dynamic=False) if way.compiled else chain
    return functools.partial(function, torch.randn(size, device=way.device), torch.randn(size, device=way.device))


def training(way: Way) -> Callable[[], float]:
    program = PROGRAMS["GPT"](way.device)
    if way.compiled:
        program.model = torch.compile(program.model)  # type: ignore[assignment]
    return program.train


#: Chains of what fits the first-level cache, and of what does not fit the second.
MAKERS: dict[str, Callable[[Way], Callable[[], object]]] = {
    "pointwise chain of 1,000": functools.partial(chain_of, 1_000),
    "pointwise chain of 1,000,000": functools.partial(chain_of, 1_000_000),
    "GPT training step": training,
}


def serve(name: str, device: str, compiled: bool) -> None:
    """What a process of its own does: for each line with a number of runs, prints the seconds of one."""
    run = MAKERS[name](Way(device, compiled))
    gc.disable()
    for line in sys.stdin:
        print(seconds(run, int(line)), flush=True)


def _timer(process: FreshProcess) -> Timer:
    return lambda repeats: float(process.ask(str(repeats)))


def ratios(first: Way, second: Way, processes: int = 3) -> dict[str, float]:
    """The time of each program in the first way over that in the second, each in a process of its own: see programs."""
    result: dict[str, float] = {}
    for name in MAKERS:
        codes = [f"from benchmarks.compile import serve; serve({name!r}, *{tuple(way)})" for way in (first, second)]
        found = []
        for _ in range(processes):
            with FreshProcess(codes[0]) as one, FreshProcess(codes[1]) as other:
                found.append(ratio_of_turns(_timer(one), _timer(other), rounds=7, budget=0.05))
        result[name] = statistics.median(found)
    return result


def devices() -> dict[str, float]:
    """Cuda over cpu, both compiled."""
    return ratios(Way("cuda", compiled=True), Way("cpu", compiled=True))


def gains(device: str) -> dict[str, float]:
    """Compiled over uncompiled."""
    return ratios(Way(device, compiled=True), Way(device, compiled=False))
