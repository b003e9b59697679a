"""A program of several processes, in one: this process is one rank, and there are no others to wait for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlparse

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from torchdevice.fit.collectives import Collectives
from torchdevice.fit.record import Record
from torchdevice.patches import versions
from torchdevice.patches.change import add_all, set_all

#: torch's stubs do not list all of its names.
_Fake: Any = torch._C._distributed_c10d.FakeProcessGroup


class Ranks:
    """The program's groups of processes."""

    def __init__(self) -> None:
        self._largest = 1  #: processes of a group
        self._collectives = Collectives()

    def install(self) -> None:
        """For the rest of this process groups connect to nobody."""
        groups = {name: self._stand_in(group) for name, group in versions.nccl_groups(distributed_c10d).items()}
        groups["ProcessGroupGloo"] = self._stand_in(dist.ProcessGroupGloo)
        # Whether all ranks have the same model is read from a device: it is taken for granted.
        set_all(dist, {**groups, "_verify_params_across_processes": lambda *_: None})
        set_all(distributed_c10d, {**groups, "rendezvous": _meet, "_get_object_coll_device": lambda *_: "cpu"})
        add_all(_Fake, {"_set_sequence_number_for_group": lambda _group: None})
        set_all(torch.multiprocessing, {"spawn": _spawn})
        self._collectives.install()

    def fill(self, record: Record) -> None:
        """What is to be kept of it."""
        record.ranks = self._largest
        record.communication = list(self._collectives.calls.values())

    def _stand_in(self, group: Any) -> Any:
        """In place of a class of groups: has its options, and makes groups of torch's that send nothing."""

        def make(_class: Any, _store: Any, rank: int, ranks: int, *_options: Any, **_named: Any) -> Any:
            self._largest = max(self._largest, ranks)
            return _Fake._create_internal(rank, ranks)

        names = {name: getattr(group, name) for name in ("Options",) if hasattr(group, name)}
        return _StandIn(group.__name__, (), {**names, "__new__": make})


class _StandIn(type):
    """Torch asks whether a group that it has made is of the class that it called."""

    def __instancecheck__(cls, one: Any) -> bool:
        return isinstance(one, _Fake)


_rendezvous = distributed_c10d.rendezvous  # type: ignore[attr-defined]


def _meet(url: str, rank: int = -1, world_size: int = -1, **named: Any) -> Iterator[tuple[Any, int, int]]:
    """A store of this process's own. Where the program does not say which rank it is, torch's own raises."""
    known = dict(parse_qsl(urlparse(url).query))
    if url.startswith("env:"):
        known = {"rank": os.environ.get("RANK", ""), "world_size": os.environ.get("WORLD_SIZE", "")} | known
    if rank < 0 and known.get("rank"):
        rank = int(known["rank"])
    if world_size < 0 and known.get("world_size"):
        world_size = int(known["world_size"])
    if rank < 0 or world_size < 0:
        yield from _rendezvous(url, rank, world_size, **named)
    yield torch._C._distributed_c10d.HashStore(), rank, world_size


class _Spawned:
    """What `torch.multiprocessing.spawn(join=False)` gives back."""

    processes: tuple[()] = ()

    def pids(self) -> list[int]:
        return []

    def join(self, *_arguments: Any, **_named: Any) -> bool:
        return True


def _spawn(function: Any, args: Any = (), nprocs: int = 1, join: bool = True, *_others: Any, **_named: Any) -> Any:
    """The first of the processes, as this one."""
    function(0, *args)
    return None if join else _Spawned()
