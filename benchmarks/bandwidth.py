"""Operators that memory bounds: time on cuda over time on cpu, by the size of the result.

glibc maps results above 32 MiB afresh for every operator, and the system clears each page at its first touch; the
caching allocator does neither.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.pairs import paired_ratio

MIB = 1 << 20
SIZES = (1 * MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB)

Operator = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
OPERATORS: dict[str, Operator] = {
    "add": lambda x, y: x + y,
    "chain of 5": lambda x, y: ((x * y + x).relu() - y) * 2,
    "gelu": lambda x, y: torch.nn.functional.gelu(x),
    "sum of rows": lambda x, y: x.sum(-1, keepdim=True) + y,
    "cat": lambda x, y: torch.cat([x[: len(x) // 2], y[: len(y) // 2]]),
    "clone": lambda x, y: x.clone(),
    "to half": lambda x, y: x.half().float(),
    "transposed copy": lambda x, y: x.t().contiguous(),
}


def ratios(sizes: tuple[int, ...] = SIZES, rounds: int = 9) -> dict[int, dict[str, float]]:
    """Cuda over cpu, for each size of a result in bytes and each operator."""
    result: dict[int, dict[str, float]] = {}
    for size in sizes:
        rows = size // 4 // 1024
        on = {device: [torch.ones(rows, 1024, device=device) for _ in range(2)] for device in ("cuda", "cpu")}
        with torch.no_grad():
            result[size] = {
                name: paired_ratio(partial(run, *on["cuda"]), partial(run, *on["cpu"]), rounds=rounds, budget=0.05)
                for name, run in OPERATORS.items()
            }
        torch.cuda.empty_cache()
    return result
