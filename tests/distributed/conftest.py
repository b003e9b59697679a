"""Two ranks for the tests of torch.distributed: processes that import torch once and run test after test."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

RANKS = 2
SECONDS = 120


def serve(rank: int, requests: Connection) -> None:
    """A rank's life: functions come in, results or tracebacks go out."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    # A rank whose test needs no other may end its group before the other has connected to it.
    os.environ["TORCH_DIST_INIT_BARRIER"] = "1"
    while (request := requests.recv()) is not None:
        function, arguments, backend, device, store = request
        try:
            dist.init_process_group(
                backend,
                device_id=device and torch.device(device),
                init_method=f"file://{store}",
                rank=rank,
                world_size=RANKS,
                timeout=timedelta(seconds=SECONDS / 2),
            )
            torch.manual_seed(0)
            answer = ("value", function(rank, *arguments))
        except BaseException:
            answer = ("error", traceback.format_exc())
        finally:
            with contextlib.suppress(Exception):
                dist.destroy_process_group()
        requests.send(answer)


class Ranks:
    """The processes; started when first needed, and again after one that hung or died."""

    def __init__(self) -> None:
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[Connection] = []

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        os.environ["TORCHDEVICE_COUNT"] = "2"  # the children's; torch reads it when it is imported
        for rank in range(RANKS):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(rank, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        del os.environ["TORCHDEVICE_COUNT"]

    def run(
        self, function: Callable[..., Any], *arguments: Any, backend: str | None, device: str | None, store: Path
    ) -> list[Any]:
        """What `function(rank, *arguments)` returns on each rank, in a group of their own."""
        if not self._processes:
            self.start()
        for pipe in self._pipes:
            pipe.send((function, arguments, backend, device, os.fspath(store)))
        answers = []
        for pipe in self._pipes:
            try:
                answer = pipe.recv() if pipe.poll(SECONDS) else ("error", "no answer in time")
            except EOFError:
                answer = ("error", "the process died")
            answers.append(answer)
        failures = [f"rank {rank}: {text}" for rank, (kind, text) in enumerate(answers) if kind == "error"]
        if failures:
            self.stop()
            pytest.fail("\n".join(failures), pytrace=False)
        return [value for _, value in answers]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self._processes.clear()
        self._pipes.clear()


@pytest.fixture(scope="session")
def _ranks() -> Iterator[Ranks]:
    ranks = Ranks()
    yield ranks
    ranks.stop()


@pytest.fixture
def on_ranks(_ranks: Ranks, tmp_path: Path) -> Callable[..., list[Any]]:
    """`on_ranks(function, *arguments, backend="nccl", device=None)`: `function(rank, *arguments)` on two ranks.

    Returns what the ranks return. `device` is what init_process_group is told to bind the group to.
    """

    def run(
        function: Callable[..., Any], *arguments: Any, backend: str | None = "nccl", device: str | None = None
    ) -> list[Any]:
        store = tmp_path / f"store-{os.urandom(4).hex()}"
        return _ranks.run(function, *arguments, backend=backend, device=device, store=store)

    return run


@pytest.fixture
def on_fresh_ranks(_ranks: Ranks, on_ranks: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """`on_ranks` on processes that have run nothing yet: a second RPC in a process cannot pass references on."""
    _ranks.stop()
    return on_ranks
