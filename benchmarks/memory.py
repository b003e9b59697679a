"""Peak resident memory of whole programs: a process on cuda over a process on cpu."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.programs import PROGRAMS
from benchmarks.resident import own_peak

STEPS = 10


def run(name: str, device: str) -> None:
    """What the child process does."""
    program = PROGRAMS[name](device)
    for _ in range(STEPS):
        program.train()
    print(own_peak())


def peak(name: str, device: str) -> int:
    """KiB."""
    code = f"from benchmarks.memory import run; run({name!r}, {device!r})"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def ratios() -> dict[str, float]:
    """Cuda over cpu, for each program."""
    return {name: peak(name, "cuda") / peak(name, "cpu") for name in PROGRAMS}
