"""Copies between devices and to and from pinned memory, and what `with torch.cuda.device` moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader


def test_between_devices(run_python: Callable[..., Any]) -> None:
    run_python(
        """
        import torch
        D0, D1 = torch.device("cuda:0"), torch.device("cuda:1")
        x = torch.arange(24.0).view(2, 3, 4)
        for there, here in ((D1, D0), (D0, D1), ("cpu", D1), (D1, "cpu")):
            source = x.to(here)
            for view in (source, source.transpose(0, 2), source[:, ::2], source[:0], source[1, 1, 1]):
                for dtype in (torch.float32, torch.float64, torch.half, torch.int32, torch.bool, torch.complex64):
                    for blocking in (True, False):
                        copy = view.to(there, dtype, non_blocking=not blocking)
                        assert (copy.device, copy.dtype) == (torch.device(there), dtype)
                        assert torch.equal(copy.cpu(), view.cpu().to(dtype))
                target = torch.zeros(view.shape, device=there, dtype=torch.int64).contiguous()
                assert torch.equal(target.copy_(view, non_blocking=True).cpu(), view.cpu().long())
            kept = source.transpose(0, 2).to(there)
            assert kept.stride() == source.transpose(0, 2).stride()
            conjugated = torch.view_as_complex(source.view(2, 3, 2, 2).contiguous()).conj()
            assert torch.equal(conjugated.to(there).cpu(), conjugated.cpu())
            row = torch.zeros(4, 3, device=there)
            row.t().copy_(source[0])
            assert torch.equal(row.cpu(), x[0].t())
            leaf = source.clone().requires_grad_()
            (leaf.to(there) * 2).sum().backward()
            assert leaf.grad.device == torch.device(here) and leaf.grad.sum() == 48
        assert x.cuda(1).device == D1 and x.to(D0).cuda(D1).device == D1 and x.to(D1).cuda().device == D0
        assert torch.cuda.can_device_access_peer(0, 1) and torch.cuda.can_device_access_peer(1, 0)

        with torch.cuda.device(1):
            y = torch.ones(1000, device="cuda")
            assert (y.device, x.cuda().device) == (D1, D1)
            assert torch.cuda.current_stream().device == D1 and torch.cuda.Stream().device == D1
            torch.cuda.manual_seed(5)
            assert torch.cuda.initial_seed() == 5
        assert torch.cuda.current_device() == 0
        with torch.cuda.device_of(y):
            assert torch.cuda.current_device() == 1
        with torch.cuda.stream(torch.cuda.Stream(1)) as stream:
            assert torch.cuda.current_device() == 1
        assert torch.cuda.current_device() == 0
        """,
        TORCHDEVICE_COUNT="2",
    )


@pytest.mark.parametrize("non_blocking", [True, False])
def test_pinned_memory_both_ways(non_blocking: bool) -> None:
    host = torch.arange(12.0).view(3, 4).pin_memory()
    there = host.to("cuda", non_blocking=non_blocking)
    host.add_(1)
    torch.cuda.synchronize()
    back = torch.empty(3, 4, pin_memory=True)
    back.copy_(there, non_blocking=non_blocking)
    torch.cuda.synchronize()
    assert back.is_pinned()
    assert torch.equal(back + 1, host) or non_blocking
    assert torch.equal(there.t().to("cpu", non_blocking=non_blocking), back.t())
    assert not there.is_pinned()
    assert not there.cpu().is_pinned()


class Batch:
    """A batch of one's own type, which DataLoader pins by its method."""

    def __init__(self, samples: list[tuple[torch.Tensor, int]]) -> None:
        self.x = torch.stack([x for x, _ in samples])
        self.y = {"label": torch.tensor([y for _, y in samples]), "name": "kept"}

    def pin_memory(self) -> Batch:
        self.x = self.x.pin_memory()
        return self


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader_pins_nested_and_own_batches(workers: int) -> None:
    samples = [(torch.full((2,), float(i)), i) for i in range(4)]
    pinned: DataLoader[Any] = DataLoader(samples, batch_size=2, num_workers=workers, pin_memory=True)
    for x, y in pinned:
        assert x.is_pinned()
        assert y.is_pinned()
        assert torch.equal(x.to("cuda", non_blocking=True).cpu()[:, 0].long(), y)
    own: DataLoader[Any] = DataLoader(
        samples,
        batch_size=2,
        num_workers=workers,
        pin_memory=True,
        collate_fn=Batch,
        multiprocessing_context="fork" if workers else None,
    )
    for batch in own:
        assert (type(batch), batch.x.is_pinned(), batch.y["name"]) == (Batch, True, "kept")
