"""CUDA in forked processes: refused as on a GPU, or let through by TORCHDEVICE_FORK=allow."""

from __future__ import annotations

import ast

from tests.conftest import RunPython

FORK = """
    import os, sys, torch, torch.multiprocessing as mp

    x = torch.arange(4.0, device="cuda")
    used_before = torch.ones(2, device="cuda").sum()


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
    print(repr((answer, x.tolist())))
    """

WORKER = """
    import torch
    from torch.utils.data import DataLoader, Dataset

    used_before = torch.ones(2, device="cuda").sum()


    class Cuda(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return torch.full((2,), float(i), device="cuda")


    try:
        batches = [b.tolist() for b in DataLoader(Cuda(), batch_size=2, num_workers=1, multiprocessing_context="fork")]
    except RuntimeError as error:
        batches = str(error)
    assert used_before.item() == 2
    print(repr(batches))
    """

BAD_FORK = (
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start "
    "method"
)


def test_fork_after_use_is_refused_as_on_a_gpu(run_python: RunPython) -> None:
    answer, values = ast.literal_eval(run_python(FORK, TORCHDEVICE_FORK=None).stdout)
    assert answer == ("error", BAD_FORK)
    assert values == [0, 1, 2, 3]


def test_workers_of_a_data_loader_are_refused_as_on_a_gpu(run_python: RunPython) -> None:
    assert BAD_FORK in ast.literal_eval(run_python(WORKER, TORCHDEVICE_FORK=None).stdout)


def test_fork_after_use_where_it_is_allowed(run_python: RunPython) -> None:
    answer, values = ast.literal_eval(run_python(FORK, TORCHDEVICE_FORK="allow").stdout)
    assert answer == ("ok", 10.0, "cuda")
    assert values == [1, 2, 3, 4]


def test_workers_of_a_data_loader_where_it_is_allowed(run_python: RunPython) -> None:
    batches = ast.literal_eval(run_python(WORKER, TORCHDEVICE_FORK="allow").stdout)
    assert batches == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]
