"""Hosts that touch pinned memory before its copy is done, past torch, and twins that wait."""

from __future__ import annotations

import numpy as np
import torch

N = 1024


def _ready() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """A tensor of the device, pinned memory of its size, and a name for that memory which torch does not know."""
    x = torch.ones(N, device="cuda")
    host = torch.zeros(N, pin_memory=True)
    torch.cuda.synchronize()
    return x, host, host.numpy()


def write_before_a_copy_to_the_host_is_done() -> None:
    x, host, array = _ready()
    host.copy_(x, non_blocking=True)
    array[0] = 7
    torch.cuda.synchronize()


def write_before_a_copy_to_the_host_is_done_mended() -> None:
    x, host, array = _ready()
    host.copy_(x, non_blocking=True)
    torch.cuda.synchronize()
    array[0] = 7


def fill_again_before_a_copy_to_the_device_is_done() -> None:
    x, host, array = _ready()
    for step in range(2):
        array[:] = step
        x.copy_(host, non_blocking=True)
    x.sum().item()


def fill_again_before_a_copy_to_the_device_is_done_mended() -> None:
    x, host, array = _ready()
    done = torch.cuda.Event()
    for step in range(2):
        done.synchronize()
        array[:] = step
        x.copy_(host, non_blocking=True)
        done.record()
    x.sum().item()


def wait_for_the_wrong_stream() -> None:
    x, host, array = _ready()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        host.copy_(x, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    array[0] = 7
    side.synchronize()


def wait_for_the_wrong_stream_mended() -> None:
    x, host, array = _ready()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        host.copy_(x, non_blocking=True)
    side.synchronize()
    array[0] = 7


def event_of_before_the_copy() -> None:
    x, host, array = _ready()
    done = torch.cuda.Event()
    done.record()
    x.copy_(host, non_blocking=True)
    done.synchronize()
    array[0] = 7
    x.sum().item()


def event_of_before_the_copy_mended() -> None:
    x, host, array = _ready()
    done = torch.cuda.Event()
    x.copy_(host, non_blocking=True)
    done.record()
    done.synchronize()
    array[0] = 7
    x.sum().item()
