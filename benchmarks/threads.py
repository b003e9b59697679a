"""Small operators issued by several threads at once, in C++ without the GIL: cuda over cpu."""

from __future__ import annotations

import statistics
import tempfile

import torch

from benchmarks.instructions import load_loops

THREADS = (1, 2, 4, 8)


def ratios(rounds: int = 21, each: int = 20_000) -> dict[int, float]:
    """Median of the ratios of neighbouring runs, for each number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loops = load_loops(folder)
        result = {
            threads: statistics.median(
                loops.additions("cuda", threads, each) / loops.additions("cpu", threads, each) for _ in range(rounds)
            )
            for threads in THREADS
        }
    torch.set_num_threads(before)
    return result
