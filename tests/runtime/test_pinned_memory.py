"""Pinned host memory: the allocator, is_pinned, registered ranges, DataLoader."""

from __future__ import annotations

import re
import threading

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.conftest import RunPython


def test_pin_memory_makes_a_pinned_copy() -> None:
    x = torch.arange(6.0)
    y = x.pin_memory()
    assert y.is_pinned()
    assert not x.is_pinned()
    assert y.device == torch.device("cpu")
    assert y.data_ptr() != x.data_ptr()
    assert torch.equal(x, y)
    assert y.pin_memory() is y


def test_views_of_pinned_memory_are_pinned() -> None:
    y = torch.empty(10, pin_memory=True)
    assert y.is_pinned()
    assert y[7:].is_pinned()
    assert y.untyped_storage().is_pinned()
    assert torch.zeros(3, pin_memory=True).is_pinned()
    assert torch.UntypedStorage(8).pin_memory().is_pinned()


def test_memory_is_no_longer_pinned_when_freed() -> None:
    for _ in range(10):
        torch.empty(1 << 20, pin_memory=True)
        assert not torch.empty(1 << 20).is_pinned(), "most likely the same memory"


def test_copies_from_pinned_memory() -> None:
    y = torch.arange(5.0).pin_memory()
    x = y.to("cuda", non_blocking=True)
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    back = torch.empty(5, pin_memory=True)
    back.copy_(x, non_blocking=True)
    torch.cuda.synchronize()
    assert torch.equal(back, y)


def test_only_cpu_tensors_can_be_pinned() -> None:
    message = r"^cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"
    with pytest.raises(RuntimeError, match=message):
        torch.ones(2, device="cuda").pin_memory()


def test_registered_memory_is_pinned() -> None:
    cudart = torch.cuda.cudart()
    x = torch.zeros(1000)
    size = x.numel() * x.element_size()
    assert int(cudart.cudaHostRegister(x.data_ptr(), size, 0)) == 0
    assert x.is_pinned()
    assert x[999:].is_pinned()
    assert int(cudart.cudaHostRegister(x.data_ptr() + 8, 8, 0)) == 712
    assert int(cudart.cudaHostUnregister(x.data_ptr() + 8)) == 713
    assert int(cudart.cudaHostUnregister(x.data_ptr())) == 0
    assert not x.is_pinned()
    assert int(cudart.cudaHostRegister(0, 8, 0)) == 1


def test_empty_tensors() -> None:
    assert torch.empty(0, pin_memory=True).numel() == 0
    assert torch.empty(0).pin_memory().numel() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader_pins_its_batches(workers: int) -> None:
    data = TensorDataset(torch.arange(12.0).reshape(6, 2), torch.arange(6))
    batches = list(DataLoader(data, batch_size=4, num_workers=workers, pin_memory=True))
    assert [tuple(x.shape) for x, _ in batches] == [(4, 2), (2, 2)]
    assert all(x.is_pinned() and y.is_pinned() for x, y in batches)
    assert batches[0][0].to("cuda", non_blocking=True).sum().item() == 28.0


def test_a_killed_worker_of_a_data_loader_is_an_error_and_leaves_nothing(run_python: RunPython) -> None:
    process = run_python(
        """
        import gc, multiprocessing, os, signal, torch
        from torch.utils.data import DataLoader, Dataset

        class Deadly(Dataset):
            def __len__(self):
                return 64
            def __getitem__(self, index):
                if index == 20:
                    os.kill(os.getpid(), signal.SIGKILL)
                return torch.full((1000,), float(index))

        def train():
            for batch in DataLoader(Deadly(), batch_size=4, num_workers=2, pin_memory=True):
                batch.cuda(non_blocking=True).sum().item()

        try:
            train()
        except RuntimeError as error:
            print(type(error).__name__, error)
        gc.collect()
        shared = "/dev/shm" if os.path.isdir("/dev/shm") else "/"
        left = [name for name in os.listdir(shared) if name.startswith(f"torch_{os.getpid()}_")]
        print(multiprocessing.active_children(), left)
        print((torch.ones(3, device="cuda") * 2).sum().item())
        """
    )
    error, left, result = process.stdout.splitlines()
    assert re.fullmatch(
        r"RuntimeError DataLoader worker \(pid.* (is killed by signal: Killed|exited unexpectedly).*", error
    )
    assert left == "[] []"
    assert result == "6.0"


def test_many_threads_pin_at_once() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for n in range(1, 200):
                y = torch.empty(n, pin_memory=True)
                assert y.is_pinned()
                assert y[n - 1 :].is_pinned()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_forking_while_other_threads_pin(run_python: RunPython) -> None:
    run_python(
        """
        import os, threading, torch
        torch.empty(1, pin_memory=True)
        stop = threading.Event()
        def work():
            while not stop.is_set():
                torch.empty(64, pin_memory=True)
        threads = [threading.Thread(target=work) for _ in range(3)]
        [t.start() for t in threads]
        for _ in range(20):
            child = os.fork()
            if child == 0:
                torch.UntypedStorage(16)
                torch.cuda._cudart.cudaHostUnregister(8)  # takes the lock
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        [t.join() for t in threads]
        """
    )


def test_pinned_tensors_may_outlive_the_interpreter(run_python: RunPython) -> None:
    run_python("import sys, torch; sys.keep = torch.empty(3, pin_memory=True)")
