"""Small operators called from Python: time on cuda over time on cpu."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F  # noqa: N812

from benchmarks.pairs import paired_ratio


class Inputs:
    """The same small tensors on one device."""

    def __init__(self, device: str) -> None:
        torch.manual_seed(0)
        self.ten = torch.rand(10).to(device)
        self.other = torch.rand(10).to(device)
        self.square = torch.rand(16, 16).to(device)
        self.row = torch.rand(16).to(device)
        self.image = torch.rand(1, 1, 8, 8).to(device)
        self.kernel = torch.rand(1, 1, 3, 3).to(device)
        self.index = torch.arange(4).to(device)


OPERATORS: dict[str, Callable[[Inputs], object]] = {
    "add": lambda x: x.ten + x.other,
    "mul_": lambda x: x.ten.mul_(x.other),
    "relu": lambda x: torch.relu(x.ten),
    "sum": lambda x: x.ten.sum(),
    "mm": lambda x: x.square @ x.square,
    "addmm": lambda x: torch.addmm(x.row, x.square, x.square),
    "layer_norm": lambda x: F.layer_norm(x.square, (16,), x.row, x.row),
    "softmax": lambda x: torch.softmax(x.square, 1),
    "embedding": lambda x: F.embedding(x.index, x.square),
    "index_select": lambda x: x.square.index_select(0, x.index),
    "copy_": lambda x: x.ten.copy_(x.other),
    "cat": lambda x: torch.cat([x.ten, x.other, x.ten, x.other]),
    "native_dropout": lambda x: torch.native_dropout(x.ten, 0.5, True),
    "conv2d": lambda x: F.conv2d(x.image, x.kernel),
    "linear": lambda x: F.linear(x.square, x.square, x.row),
    "index": lambda x: x.square[x.index],
    "view": lambda x: x.square.view(4, 64),
    "empty": lambda x: torch.empty_like(x.ten),
}


def ratios(rounds: int = 101) -> dict[str, float]:
    """Cuda over cpu, for each operator."""
    cuda, cpu = Inputs("cuda"), Inputs("cpu")
    with torch.no_grad():
        return {
            name: paired_ratio(partial(run, cuda), partial(run, cpu), rounds=rounds, budget=0.002)
            for name, run in OPERATORS.items()
        }
