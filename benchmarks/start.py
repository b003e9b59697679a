"""What activation adds to a process: time and memory of `import torch`, and the time of the first operator."""

from __future__ import annotations

import statistics
import time

from benchmarks.fresh import run_fresh

IMPORT = "import torch"
#: torch looks for backends whether or not one is installed; with autoload off it would not, so this is added.
SEARCH = "; from importlib.metadata import entry_points; entry_points(group='torch.backends')"
PEAK = "import torch; from benchmarks.fresh import own_peak; print(own_peak() / 1024)"
FIRST_OPERATOR = """
import time, torch
start = time.perf_counter()
torch.ones(10, device="cuda") + 1
print((time.perf_counter() - start) * 1000)
"""


def run(code: str, active: bool) -> str:
    """What an interpreter prints, with torchdevice active or not; its modules are compiled by the first run."""
    return run_fresh(code, TORCH_DEVICE_BACKEND_AUTOLOAD="1" if active else "0", PYTHONDONTWRITEBYTECODE="")


def import_seconds(active: bool) -> float:
    start = time.perf_counter()
    run(IMPORT if active else IMPORT + SEARCH, active)
    return time.perf_counter() - start


def import_ratio(runs: int = 15) -> float:
    """Median of the ratios of neighbouring runs, which share what else the machine was doing."""
    import_seconds(True)
    return statistics.median(import_seconds(True) / import_seconds(False) for _ in range(runs))


def import_mebibytes(runs: int = 5) -> float:
    """MiB that activation adds to the peak."""
    return statistics.median(float(run(PEAK, True)) - float(run(PEAK, False)) for _ in range(runs))


def first_operator_milliseconds(runs: int = 5) -> float:
    """Milliseconds of the first addition in a process: creating the tensor, initialising CUDA, the pools."""
    return statistics.median(float(run(FIRST_OPERATOR, True)) for _ in range(runs))
