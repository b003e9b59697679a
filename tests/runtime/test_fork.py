"""CUDA in forked processes: refused as on a GPU, or let through by TORCHDEVICE_FORK=allow."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

RunPython = Callable[..., Any]

FORK = """
    import os, sys, torch, torch.multiprocessing as mp
    from torch.utils.data import DataLoader, Dataset

    x = torch.arange(4.0, device="cuda")
    used_before = torch.ones(2, device="cuda").sum()


    class Cuda(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return torch.full((2,), float(i), device="cuda")


    def child(queue, back):
        try:
            mine = queue.get(timeout=60)
            mine.add_(1)
            back.put(("ok", mine.sum().item(), torch.rand(3, device="cuda").device.type))
        except RuntimeError as error:
            back.put(("error", str(error)))


    context = mp.get_context("fork")
    queue, back = context.Queue(), context.Queue()
    process = context.Process(target=child, args=(queue, back))
    process.start()
    queue.put(x)
    answer = back.get(timeout=60)
    process.join(60)
    try:
        batches = [b.tolist() for b in DataLoader(Cuda(), batch_size=2, num_workers=1, multiprocessing_context="fork")]
    except RuntimeError as error:
        batches = str(error)
    print(repr((answer, x.tolist(), batches)))
    """

BAD_FORK = (
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start "
    "method"
)


def test_fork_after_use_is_refused_as_on_a_gpu(run_python: RunPython) -> None:
    answer, values, batches = ast.literal_eval(run_python(FORK, TORCHDEVICE_FORK=None).stdout)
    assert answer == ("error", BAD_FORK)
    assert values == [0, 1, 2, 3]
    assert BAD_FORK in batches


def test_fork_after_use_where_it_is_allowed(run_python: RunPython) -> None:
    answer, values, batches = ast.literal_eval(run_python(FORK, TORCHDEVICE_FORK="allow").stdout)
    assert answer == ("ok", 10.0, "cuda")
    assert values == [1, 2, 3, 4]
    assert batches == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]
