"""Loops that make the host wait each time, and twins that do not. The budget is four waits a line."""

from __future__ import annotations

import torch

N = 1024
STEPS = 10


def _losses() -> list[torch.Tensor]:
    return [torch.ones(N, device="cuda") * step for step in range(STEPS)]


def item_each_step() -> None:
    total = 0.0
    for loss in _losses():
        total += loss.mean().item()


def item_each_step_mended() -> None:
    total = torch.zeros((), device="cuda")
    for loss in _losses():
        total += loss.mean()
    total.item()


def branch_on_the_device() -> None:
    for loss in _losses():
        if loss.max() > 100:
            break


def branch_on_the_device_mended() -> None:
    worst = torch.stack([loss.max() for loss in _losses()]).max()
    assert worst < 100


def boolean_mask() -> None:
    for loss in _losses():
        loss[loss > 1].sum()


def boolean_mask_mended() -> None:
    for loss in _losses():
        torch.where(loss > 1, loss, 0).sum()


def nonzero() -> None:
    for loss in _losses():
        loss.nonzero()


def nonzero_mended() -> None:
    for loss in _losses():
        loss.count_nonzero()


def copy_to_the_host() -> None:
    for loss in _losses():
        loss.cpu()


def copy_to_the_host_mended() -> None:
    buffers = torch.empty(STEPS, N, pin_memory=True)
    for loss, buffer in zip(_losses(), buffers, strict=True):
        buffer.copy_(loss, non_blocking=True)
    torch.cuda.synchronize()


def copy_from_the_host() -> None:
    for _ in range(STEPS):
        torch.tensor([1.0, 2.0]).to("cuda")


def copy_from_the_host_mended() -> None:
    host = torch.tensor([1.0, 2.0]).pin_memory()
    for _ in range(STEPS):
        host.to("cuda", non_blocking=True)


def unique_values() -> None:
    for loss in _losses():
        loss.unique()


def unique_values_mended() -> None:
    for loss in _losses():
        loss.sort()


def clipped_by_the_host() -> None:
    for loss in _losses():
        norm = float(loss.norm())
        loss.mul_(1 / max(norm, 1.0))


def clipped_by_the_host_mended() -> None:
    for loss in _losses():
        loss.mul_(1 / loss.norm().clamp(min=1.0))
