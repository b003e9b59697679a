"""Time of `import torch` with activation over without, as whole processes, run in turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time


def once(active: bool) -> float:
    """Seconds of one interpreter that imports torch."""
    environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "1" if active else "0"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], env=environment, check=True)
    return time.perf_counter() - start


def ratio(runs: int = 15) -> float:
    """Median of the ratios of neighbouring runs, which share what else the machine was doing."""
    once(True)
    return statistics.median(once(True) / once(False) for _ in range(runs))


if __name__ == "__main__":
    print(f"import torch, active over not: {ratio():.3f}")
