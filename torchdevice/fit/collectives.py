"""What torch.distributed's operators do in a dry run: shapes stay, nothing is sent, and the link's bytes are noted.

One rank is run for all, so all are taken to be alike. Tensors on the host get the values that this means, but for sums:
which reduction was asked for, an operator's Python kernel is not told. Tensors on a device have no values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch.optim import optimizer as optimizer_hooks

from torchdevice.fit.record import Communication

#: torch's stubs do not list all of its names.
_c10d: Any = torch._C._distributed_c10d

Arguments = dict[str, Any]


class _Collective(NamedTuple):
    """One operator of torch.distributed's."""

    payload: str  #: the argument that has the bytes of the whole message
    sent: Callable[[int], float]  #: what part of it each rank sends in a group of so many: rings, as NCCL's
    on_host: Callable[[Arguments, int, int], None]  #: what becomes of tensors on the host; rank and ranks of the group


def _nothing(_arguments: Arguments, _rank: int, _ranks: int) -> None:
    """The result is what this rank has already: of values that are alike, all that is not a sum."""


def _copy(targets: Iterable[torch.Tensor], source: torch.Tensor) -> None:
    for target in targets:
        if target.shape == source.shape:
            target.copy_(source)


def _gather(arguments: Arguments, _rank: int, _ranks: int) -> None:
    outputs, inputs = list(arguments.values())[:2]
    for targets, source in zip(outputs, inputs, strict=False):  # no outputs where the rank is not the root
        _copy(targets, source)


def _gather_whole(arguments: Arguments, _rank: int, ranks: int) -> None:
    for output, source in _pairs(arguments):
        for part in output.view(-1).chunk(ranks):
            part.copy_(source.reshape(-1))


def _scatter(arguments: Arguments, rank: int, _ranks: int) -> None:
    outputs, inputs = list(arguments.values())[:2]
    for output, parts in zip(outputs, inputs, strict=False):
        output.copy_(parts[rank])


def _scatter_whole(arguments: Arguments, rank: int, ranks: int) -> None:
    for output, source in _pairs(arguments):
        output.copy_(source.reshape(ranks, -1)[rank].view_as(output))


def _exchange(arguments: Arguments, rank: int, _ranks: int) -> None:
    _copy(arguments["output_tensors"], arguments["input_tensors"][rank])


def _exchange_whole(arguments: Arguments, rank: int, ranks: int) -> None:
    output, source = arguments["output"], arguments["input"]
    if not arguments["output_split_sizes"] and not arguments["input_split_sizes"]:
        _copy(output.chunk(ranks), source.chunk(ranks)[rank])


def _pairs(arguments: Arguments) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    outputs, inputs = list(arguments.values())[:2]
    if isinstance(outputs, torch.Tensor):
        yield outputs, inputs
    else:
        yield from zip(outputs, inputs, strict=True)


def _all(_ranks: int) -> float:
    return 1.0


def _others(ranks: int) -> float:
    return (ranks - 1) / ranks


def _there_and_back(ranks: int) -> float:
    return 2 * (ranks - 1) / ranks


_COLLECTIVES = {
    "allreduce_": _Collective("tensors", _there_and_back, _nothing),
    "allreduce_coalesced_": _Collective("tensors", _there_and_back, _nothing),
    "reduce_": _Collective("tensors", _all, _nothing),
    "broadcast_": _Collective("tensors", _all, _nothing),
    "allgather_": _Collective("output_tensors", _others, _gather),
    "allgather_coalesced_": _Collective("output_lists", _others, _gather),
    "_allgather_base_": _Collective("output_tensor", _others, _gather_whole),
    "allgather_into_tensor_coalesced_": _Collective("outputs", _others, _gather_whole),
    "reduce_scatter_": _Collective("input_tensors", _others, _scatter),
    "_reduce_scatter_base_": _Collective("input_tensor", _others, _scatter_whole),
    "reduce_scatter_tensor_coalesced_": _Collective("inputs", _others, _scatter_whole),
    "gather_": _Collective("output_tensors", _others, _gather),
    "scatter_": _Collective("input_tensors", _others, _scatter),
    "alltoall_": _Collective("input_tensors", _others, _exchange),
    "alltoall_base_": _Collective("input", _others, _exchange_whole),
    "send": _Collective("tensors", _all, _nothing),
    "recv_": _Collective("tensors", _all, _nothing),
    "recv_any_source_": _Collective("tensors", _all, _nothing),
    "barrier": _Collective("", _all, _nothing),
    "monitored_barrier_": _Collective("", _all, _nothing),
}


class Collectives:
    """All calls, by kind."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, int, int, int, bool], Communication] = {}
        self._before_step: dict[tuple[str, int, int, int, bool], int] = {}
        library: Any = torch.library.Library
        self._library = library("c10d", "IMPL")

    def install(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that they had other kernels
            for name, collective in _COLLECTIVES.items():
                schema = getattr(torch.ops.c10d, name).default._schema
                kernel = self._kernel(name.strip("_"), schema, collective)
                for device in ("CPU", "CUDA"):
                    self._library.impl(name, kernel, device, allow_override=True)
        optimizer_hooks.register_optimizer_step_post_hook(self._after_step)

    def _after_step(self, _optimizer: torch.optim.Optimizer, _arguments: Any, _named: Any) -> None:
        for kind, call in self.calls.items():
            call.in_step = call.count - self._before_step.get(kind, 0)
            self._before_step[kind] = call.count

    def _kernel(self, name: str, schema: Any, collective: _Collective) -> Callable[..., Any]:
        names = [one.name for one in schema.arguments]
        returned = len(schema.returns)

        def kernel(*given: Any, **named: Any) -> Any:
            arguments = dict(zip(names, given, strict=False)) | named
            group = dist.ProcessGroup.unbox(arguments["process_group"])
            output = arguments[names[0]]
            tensors = list(_tensors(arguments.get(collective.payload, ())))
            if _is_on_host(output, tensors):
                with torch._C._AutoDispatchBelowAutograd():
                    collective.on_host(arguments, group.rank(), group.size())
            else:
                self._note(name, collective, group, tensors)
            if returned == 0:
                return None
            done: torch.futures.Future[Any] = torch.futures.Future()
            done.set_result(list(_tensors(output)))
            work = _c10d._create_work_from_future(done).boxed()
            return work if returned == 1 else (output, work)

        return kernel

    def _note(self, name: str, collective: _Collective, group: Any, tensors: list[torch.Tensor]) -> None:
        size = sum(one.numel() * one.element_size() for one in tensors)
        device = tensors[0].device.index if tensors else torch.cuda.current_device()
        kind = (name, device, group.size(), size, _is_within_host(group))
        if kind not in self.calls:
            sent = round(size * collective.sent(group.size()))
            self.calls[kind] = Communication(name, device, group.size(), kind[-1], bytes=size, sent=sent)
        self.calls[kind].count += 1


def _is_on_host(output: Any, tensors: list[torch.Tensor]) -> bool:
    return all(one.is_cpu for one in [*_tensors(output), *tensors])


def _is_within_host(group: Any) -> bool:
    """Whether all of its ranks have a device of this host's."""
    devices = max(torch.cuda.device_count(), 1)
    return len({rank // devices for rank in dist.get_process_group_ranks(group)}) == 1


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    else:
        for value in values:
            yield from _tensors(value)
