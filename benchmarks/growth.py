"""What a small operator costs while more and more else is alive, and larger ones by their size.

All but the sizes are nanoseconds of one addition of ten numbers; their curves should be flat. The machine's pace
changes, so each point is divided by that of the same addition on cpu, measured in turns.
"""

from __future__ import annotations

import torch

from benchmarks.fresh import run_fresh
from benchmarks.pairs import paired_ratio

SIZES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
LIVE_TENSORS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
LIVE_STREAMS = (1, 10, 100, 1_000)
DEVICES = (1, 2, 8, 64)


def addition(numel: int = 10) -> float:
    """One addition on cuda over one on cpu."""
    on = {device: torch.ones(numel, device=device) for device in ("cuda", "cpu")}
    with torch.no_grad():
        return paired_ratio(lambda: on["cuda"] + on["cuda"], lambda: on["cpu"] + on["cpu"], rounds=15, budget=0.01)


def by_size() -> dict[int, float]:
    return {numel: addition(numel) for numel in SIZES}


def by_live_tensors() -> dict[int, float]:
    """Tensors of one number each, on cuda and as many on cpu."""
    result: dict[int, float] = {}
    alive: list[torch.Tensor] = []
    for count in LIVE_TENSORS:
        while len(alive) < 2 * count:
            alive += [torch.ones(1, device="cuda"), torch.ones(1)]
        result[count] = addition()
    return result


def by_live_streams() -> dict[int, float]:
    """Streams that have each allocated something."""
    result: dict[int, float] = {}
    alive: list[tuple[torch.cuda.Stream, torch.Tensor]] = []
    for count in LIVE_STREAMS:
        while len(alive) < count:
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                alive.append((stream, torch.ones(1, device="cuda")))
        result[count] = addition()
    return result


def by_devices() -> dict[int, float]:
    """Each number of devices in a process of its own, with a tensor on every device."""
    program = """
import torch
from benchmarks.growth import addition
alive = [torch.ones(1, device=f"cuda:{i}") for i in range(torch.cuda.device_count())]
print(addition())
"""
    return {count: float(run_fresh(program, TORCHDEVICE_COUNT=str(count))) for count in DEVICES}


def ratios() -> dict[str, dict[int, float]]:
    """Cuda over cpu by each quantity that may grow."""
    return {
        "elements": by_size(),
        "live tensors": by_live_tensors(),
        "live streams": by_live_streams(),
        "devices": by_devices(),
    }
