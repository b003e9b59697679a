"""torch.cuda.set_sync_debug_mode: the cases of torch's own test_sync_warning (test/test_cuda.py), and more."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch

SIZE = 4


class Inputs:
    def __init__(self) -> None:
        self.x = torch.rand(SIZE, device="cuda")
        self.y = torch.rand((), device="cuda")
        self.index = torch.randint(SIZE, (3,), device="cuda")
        self.index_cpu = self.index.cpu()
        self.repeats = torch.full((1,), 2, device="cuda")
        self.mask = torch.randint(2, (SIZE,), device="cuda", dtype=torch.bool)
        self.mask_cpu = self.mask.cpu()
        self.pinned = torch.zeros(SIZE).pin_memory()

    def put(self, index: torch.Tensor, value: float | torch.Tensor) -> None:
        self.x[index] = value


@pytest.fixture
def inputs() -> Iterator[Inputs]:
    yield Inputs()
    torch.cuda.set_sync_debug_mode("default")


WAITS: dict[str, Callable[[Inputs], object]] = {
    "put by mask": lambda i: i.put(i.mask, i.y),
    "put by index on the host": lambda i: i.put(i.index_cpu, i.y),
    "get by mask": lambda i: i.x[i.mask],
    "get by index on the host": lambda i: i.x[i.index_cpu],
    "nonzero": lambda i: i.x.nonzero(),
    "condition": lambda i: bool(i.y),
    "one_hot": lambda i: torch.nn.functional.one_hot(i.index),
    "repeat_interleave": lambda i: torch.repeat_interleave(i.x, i.repeats),
    "item": lambda i: i.y.item(),
    "tolist": lambda i: i.x.tolist(),
    "to the host": lambda i: i.x.cpu(),
    "to the device": lambda i: torch.ones(3).cuda(),
    "unique": lambda i: torch.unique(i.x),
    "masked_select": lambda i: torch.masked_select(i.x, i.mask),
    "equal": lambda i: torch.equal(i.x, i.x),
    "allclose": lambda i: torch.allclose(i.x, i.x),
    "bincount": lambda i: torch.bincount(i.index),
    "stream": lambda i: torch.cuda.current_stream().synchronize(),
}

DOES_NOT_WAIT: dict[str, Callable[[Inputs], object]] = {
    "put number by mask": lambda i: i.put(i.mask, 1.0),
    "put by mask on the host": lambda i: i.put(i.mask_cpu, i.y),
    "put by index": lambda i: i.put(i.index, i.y),
    "get by mask on the host": lambda i: i.x[i.mask_cpu],
    "get by index": lambda i: i.x[i.index],
    "one_hot": lambda i: torch.nn.functional.one_hot(i.index, num_classes=SIZE),
    "randperm": lambda i: torch.randperm(20000, device="cuda"),
    "repeat_interleave by number": lambda i: torch.repeat_interleave(i.x, 2, output_size=2 * SIZE),
    "repeat_interleave": lambda i: torch.repeat_interleave(i.x, i.repeats, output_size=2 * SIZE),
    "any": lambda i: torch.any(i.y),
    "pinned to the device": lambda i: i.pinned.to("cuda", non_blocking=True),
    "pinned to the host": lambda i: i.pinned.copy_(i.x, non_blocking=True),
    "arithmetic": lambda i: (i.x @ i.x).add_(1),
}


@pytest.mark.parametrize("name", WAITS)
def test_waiting(inputs: Inputs, name: str) -> None:
    torch.cuda.set_sync_debug_mode("warn")
    with pytest.warns(UserWarning, match="called a synchronizing CUDA operation"):
        WAITS[name](inputs)
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"):
        WAITS[name](inputs)


@pytest.mark.parametrize("name", DOES_NOT_WAIT)
def test_not_waiting(inputs: Inputs, name: str) -> None:
    torch.cuda.set_sync_debug_mode("error")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DOES_NOT_WAIT[name](inputs)
