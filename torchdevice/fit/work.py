"""How much an operator computes and how many bytes it moves, from the shapes that a dry run recorded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from torchdevice.fit.record import Work

# It warns of a missing Triton, whose kernels a dry run does not see anyway.
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
from torch.utils.flop_counter import flop_registry  # noqa: E402


def work_of(
    name: str, overload: str, device: int, count: int, in_step: int, arguments: list[Any], results: list[Any]
) -> Work:
    """Calls of one kind, of which the dry run kept tensors without data."""
    packet = _packet(name)
    read = list(_tensors(arguments))
    made = list(_tensors(results))
    flops = _flops(packet, overload, arguments, results) if packet is not None else 0
    types = {one.dtype for one in read[:1] if flops} or {one.dtype for one in read or made}
    return Work(
        operator=name.removeprefix("aten::"),
        device=device,
        count=count,
        in_step=in_step,
        flops=flops,
        bytes=_moved(name, read, made),
        dtype=str(max(types, key=lambda one: one.itemsize, default=torch.float32)).removeprefix("torch."),
        shapes=" ".join("x".join(map(str, one.shape)) or "()" for one in read[:3]),
    )


#: Of the first argument only what is chosen is read.
_CHOOSING = {"embedding", "index", "index_select", "gather", "take", "_unsafe_index", "slice_backward"}
#: Nothing is read of what is overwritten.
_OVERWRITING = {"fill_", "zero_", "uniform_", "normal_", "random_", "bernoulli_", "exponential_", "copy_"}


def _moved(name: str, read: list[torch.Tensor], made: list[torch.Tensor]) -> int:
    """The bytes that a kernel reads and writes, each once."""
    plain = name.removeprefix("aten::")
    written = sum(map(_bytes, made))
    if plain in _CHOOSING:
        return 2 * written + sum(map(_bytes, read[1:]))
    return written + sum(map(_bytes, read[1:] if plain in _OVERWRITING else read))


def _packet(name: str) -> Any:
    namespace, _, operator = name.partition("::")
    return getattr(getattr(torch.ops, namespace), operator, None)


def _flops(packet: Any, overload: str, arguments: list[Any], results: list[Any]) -> int:
    """torch's flop counter's formula; 0 for operators that it has none for: those that only move bytes."""
    formula = flop_registry.get(packet)
    if formula is None:
        return 0
    schema = getattr(packet, overload or "default")._schema
    positional = [value for value, formal in zip(arguments, schema.arguments, strict=True) if not formal.kwarg_only]
    named = {
        formal.name: value
        for value, formal in zip(arguments, schema.arguments, strict=True)
        if formal.kwarg_only and formal.name not in ("out",)
    }
    out = results[0] if len(results) == 1 else tuple(results)
    return int(formula(*positional, **named, out_val=out))


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _bytes(tensor: torch.Tensor) -> int:
    """What a kernel reads of it: an expanded dimension only once."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride or size == 0 else 1
    return elements * tensor.element_size()
