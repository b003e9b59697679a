"""Peak resident memory of whole programs: a process on cuda over a process on cpu."""

from __future__ import annotations

from benchmarks.fresh import own_peak, run_fresh
from benchmarks.programs import PROGRAMS

STEPS = 10


def run(name: str, device: str) -> None:
    """What the child process does."""
    program = PROGRAMS[name](device)
    for _ in range(STEPS):
        program.train()
    print(own_peak())


def peak(name: str, device: str) -> int:
    """KiB."""
    return int(run_fresh(f"from benchmarks.memory import run; run({name!r}, {device!r})"))


def ratios() -> dict[str, float]:
    """Cuda over cpu, for each program."""
    return {name: peak(name, "cuda") / peak(name, "cpu") for name in PROGRAMS}
