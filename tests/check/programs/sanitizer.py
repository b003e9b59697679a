"""The situations that PyTorch tests torch.cuda._sanitizer with, as programs; its answer is which of a pair fails."""

from __future__ import annotations

from itertools import pairwise

import torch


def _tensors(count: int = 1) -> list[torch.Tensor]:
    made = [torch.ones(64, device="cuda") for _ in range(count)]
    torch.cuda.synchronize()
    return made


def _streams(count: int) -> list[torch.cuda.Stream]:
    return [torch.cuda.Stream() for _ in range(count)]


def _read(stream: torch.cuda.Stream, *tensors: torch.Tensor) -> None:
    with torch.cuda.stream(stream):
        torch._foreach_norm(tensors)


def _write(stream: torch.cuda.Stream, *tensors: torch.Tensor) -> None:
    with torch.cuda.stream(stream):
        torch._foreach_add_(tensors, 1.0)


def reader_and_writer() -> None:
    (x,), (one, two) = _tensors(), _streams(2)
    _read(one, x)
    _write(two, x)


def reader_and_writer_mended() -> None:
    (x,), (one, two) = _tensors(), _streams(2)
    _read(one, x)
    two.wait_event(one.record_event())
    _write(two, x)


def two_readers_of_a_write() -> None:
    (x,), (one, two, three) = _tensors(), _streams(3)
    _write(one, x)
    two.wait_event(one.record_event())
    _read(two, x)
    _read(three, x)


def two_readers_of_a_write_mended() -> None:
    """An event can be waited for by several streams."""
    (x,), (one, two, three) = _tensors(), _streams(3)
    _write(one, x)
    event = one.record_event()
    two.wait_event(event)
    three.wait_event(event)
    _read(two, x)
    _read(three, x)


def branches_that_write() -> None:
    (x,), (one, two, three) = _tensors(), _streams(3)
    _write(one, x)
    event = one.record_event()
    two.wait_event(event)
    three.wait_event(event)
    _read(two, x)
    _read(three, x)
    _write(two, x)


def branches_that_write_mended() -> None:
    (x,), (one, two) = _tensors(), _streams(2)
    _read(one, x)
    _read(two, x)


def chain_that_is_cut() -> None:
    (x,), streams = _tensors(), _streams(11)
    _read(streams[0], x)
    for before, after in pairwise(streams[:-1]):
        after.wait_event(before.record_event())
    _write(streams[-1], x)


def chain_that_is_cut_mended() -> None:
    (x,), streams = _tensors(), _streams(11)
    _read(streams[0], x)
    for before, after in pairwise(streams):
        after.wait_event(before.record_event())
    _write(streams[-1], x)


def read_after_the_record() -> None:
    (x,), (one, two) = _tensors(), _streams(2)
    _read(one, x)
    event = one.record_event()
    _read(one, x)
    two.wait_event(event)
    _write(two, x)


def read_after_the_record_mended() -> None:
    (x,), (one, two) = _tensors(), _streams(2)
    _read(one, x)
    _read(one, x)
    two.wait_event(one.record_event())
    _write(two, x)


def record_that_is_gone() -> None:
    (x,), (one, two) = _tensors(), _streams(2)
    _read(one, x)
    event = one.record_event()
    del event
    two.wait_event(torch.cuda.Event())
    _write(two, x)


def record_that_is_gone_mended() -> None:
    (x,), (one, two) = _tensors(), _streams(2)
    _read(one, x)
    event = one.record_event()
    two.wait_event(event)
    del event
    _write(two, x)


def one_of_many_readers() -> None:
    (x,), streams = _tensors(), _streams(11)
    for stream in streams[1:]:
        _read(stream, x)
    for stream in streams[1:-1]:
        streams[0].wait_event(stream.record_event())
    _write(streams[0], x)


def one_of_many_readers_mended() -> None:
    (x,), streams = _tensors(), _streams(11)
    for stream in streams[1:]:
        _read(stream, x)
        streams[0].wait_event(stream.record_event())
    _write(streams[0], x)


def many_tensors_at_once() -> None:
    """Each of the ten is told."""
    many, (one, two) = _tensors(10), _streams(2)
    _write(one, *many)
    _write(two, *many)


def many_tensors_at_once_mended() -> None:
    many, (one, two) = _tensors(10), _streams(2)
    _write(one, *many)
    two.wait_stream(one)
    _write(two, *many)


def states_that_are_merged() -> None:
    (x, y), (one, two) = _tensors(2), _streams(2)
    _write(one, x)
    _write(two, y)
    first, second = one.record_event(), two.record_event()
    _write(one, x)
    _write(two, y)
    two.wait_event(first)
    one.wait_event(second)
    _write(one, x, y)


def states_that_are_merged_mended() -> None:
    (x, y), (one, two) = _tensors(2), _streams(2)
    _write(one, x)
    _write(two, y)
    first, second = one.record_event(), two.record_event()
    _write(one, x)
    _write(two, y)
    two.wait_event(first)
    one.wait_event(second)
    one.wait_event(two.record_event())
    _write(one, x, y)


def record_that_is_overridden() -> None:
    (x, y), (one, two, three) = _tensors(2), _streams(3)
    _read(one, x)
    _read(two, y)
    event = torch.cuda.Event()
    event.record(one)
    event.record(two)
    three.wait_event(event)
    _write(three, x)


def record_that_is_overridden_mended() -> None:
    (x, y), (one, two, three) = _tensors(2), _streams(3)
    _read(one, x)
    _read(two, y)
    event = torch.cuda.Event()
    event.record(two)
    event.record(one)
    three.wait_event(event)
    _write(three, x)
