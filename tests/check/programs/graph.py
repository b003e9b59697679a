"""What breaks the capture of a graph, and how the same is captured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch


def capture(work: Callable[[torch.Tensor], object]) -> None:
    x = torch.ones(8, device="cuda")
    # A capture that is lost raises where it ends.
    with contextlib.suppress(torch.AcceleratorError), torch.cuda.graph(torch.cuda.CUDAGraph()):
        x.add_(1)
        work(x)
    torch.cuda.synchronize()


def item() -> None:
    capture(lambda x: x.sum().item())


def item_mended() -> None:
    capture(lambda x: x.sum())


def branch() -> None:
    capture(lambda x: x.neg_() if x.sum() > 0 else x)


def branch_mended() -> None:
    capture(lambda x: torch.where(x.sum() > 0, -x, x))


def mask() -> None:
    capture(lambda x: x[x > 1])


def mask_mended() -> None:
    capture(lambda x: x * (x > 1))


def nonzero() -> None:
    capture(lambda x: x.nonzero())


def nonzero_mended() -> None:
    capture(lambda x: torch.nonzero_static(x, size=4))


def copy_to_the_host() -> None:
    buffer = torch.empty(8, pin_memory=True)
    capture(lambda x: buffer.copy_(x))


def copy_to_the_host_mended() -> None:
    buffer = torch.empty(8, pin_memory=True)
    capture(lambda x: buffer.copy_(x, non_blocking=True))


def device_synchronized() -> None:
    capture(lambda _: torch.cuda.synchronize())


def device_synchronized_mended() -> None:
    torch.cuda.synchronize()
    capture(lambda x: x.mul_(2))


def event_synchronized() -> None:
    capture(lambda _: torch.cuda.current_stream().record_event().synchronize())


def event_synchronized_mended() -> None:
    capture(lambda _: torch.cuda.current_stream().record_event().wait())


def stream_asked() -> None:
    capture(lambda _: torch.cuda.current_stream().query())


def stream_asked_mended() -> None:
    capture(lambda _: torch.cuda.is_current_stream_capturing())
