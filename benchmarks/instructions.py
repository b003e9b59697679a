"""Instructions of one C++ call of a small operator, cuda over native CPU, counted by callgrind.

Also those of Python calls that name devices, before the redirect policy was asked for and after it was taken back.

The counts repeat exactly for the same binary, so a ratio can be trusted where a time cannot. Needs valgrind and a
compiler. Run by `python -m benchmarks`, or alone: `python -m benchmarks.instructions`.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

HERE = Path(__file__).parent
#: glibc gives a tensor (176 bytes) the whole of a free chunk that is 16 bytes larger, and keeps only 7 such chunks at
#: hand. If the heap happens to have more, each tensor made and freed costs 255 instructions more; with room for all of
#: them the loops find a chunk that fits.
ROOM_FOR_CHUNKS = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=1000"}

#: Calls after which CPython has specialized a function.
_WARM_UP = 50


@dataclass(frozen=True)
class Count:
    """Instructions of one call."""

    operator: str
    grad: bool
    cpu: int
    cuda: int

    @property
    def ratio(self) -> float:
        return self.cuda / self.cpu


@dataclass(frozen=True)
class Measured:
    """All of one run."""

    counts: list[Count]
    #: Of one `ask_for_devices()`, before and after the redirect policy.
    asking_before: int
    asking_after: int


def load_loops(folder: str) -> Any:
    from torch.utils.cpp_extension import load

    return load(
        name="loops",
        sources=[str(HERE / "loops.cpp")],
        extra_cflags=["-O2"],
        build_directory=folder,
        with_cuda=False,
    )


def run_under_valgrind(folder: str) -> None:
    """What the child process does: warm up outside of the loops' counts, then every loop once per device."""
    import torch

    import torchdevice

    torch.set_num_threads(1)
    loops = load_loops(folder)
    for device in ("cpu", "cuda"):
        for grad in (False, True):
            loops.run(device, grad)
    gc.disable()
    for after in (False, True):
        if after:
            with torchdevice.redirect():
                ask_for_devices()
        for _ in range(_WARM_UP):
            ask_for_devices()
        loops.ask(ask_for_devices, after)


def ask_for_devices() -> None:
    """What the redirect policy would change, in every kind of place that names a device or none."""
    import torch

    device = torch.device("cpu")
    numbers = torch.ones(3, device="cpu")
    torch.zeros(3)
    numbers.to("cpu")
    torch.zeros_like(numbers, device=device)


def inclusive_counts(profile: Path) -> dict[str, int]:
    """Instructions of each loop, with everything it calls."""
    report = subprocess.run(
        ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(profile)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.findall(r"^\s*([\d,]+)\s.*?\bloop_(\w+)", report, re.MULTILINE)
    return {name: int(count.replace(",", "")) for count, name in found}


def measure() -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        loops = load_loops(folder)
        profile = Path(folder) / "callgrind.out"
        subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={profile}",
                "--toggle-collect=loop_*",
                sys.executable,
                "-c",
                f"from benchmarks.instructions import run_under_valgrind as run; run({folder!r})",
            ],
            check=True,
            capture_output=True,
            cwd=HERE.parent,
            env={**os.environ, **ROOM_FOR_CHUNKS},
        )
        found = {name: count // loops.repeats for name, count in inclusive_counts(profile).items()}
        counts = [
            Count(name, grad, found[f"{name}_cpu{'_grad' * grad}"], found[f"{name}_cuda{'_grad' * grad}"])
            for grad in (False, True)
            for name in loops.names()
        ]
        return Measured(counts, found["asking_before"], found["asking_after"])


def show(measured: Measured) -> None:
    for grad in (False, True):
        print(f"{'with grad' if grad else 'no grad':16} {'cpu':>8} {'cuda':>8} {'ratio':>6}")
        chosen = [count for count in measured.counts if count.grad == grad]
        for count in chosen:
            print(f"{count.operator:16} {count.cpu:8,} {count.cuda:8,} {count.ratio:6.2f}")
        print(f"{'geometric mean':34} {geometric_mean([count.ratio for count in chosen]):6.2f}")
    print(
        f"devices by name  {measured.asking_before:8,} before the redirect policy, {measured.asking_after:,} after it"
    )


if __name__ == "__main__":
    show(measure())
