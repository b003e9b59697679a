"""torch.distributed.rpc with cuda tensors: they arrive on the device that the device map names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed import autograd as dist_autograd
from torch.distributed import rpc
from torch.distributed.nn import RemoteModule
from torch.distributed.optim import DistributedOptimizer

OnRanks = Callable[..., list[Any]]
DeviceMap = dict[int | str | torch.device, int | str | torch.device]

#: Each way between the two workers crosses devices.
DEVICE_MAPS: list[DeviceMap] = [{"cuda:0": "cuda:1", "cuda:1": "cuda:0"}] * 2


@contextlib.contextmanager
def workers(rank: int, store: str, maps: list[DeviceMap] | None = None) -> Iterator[str]:
    """RPC between the ranks; gives the other's name."""
    other = f"worker{1 - rank}"
    options = rpc.TensorPipeRpcBackendOptions(
        init_method=f"file://{store}", rpc_timeout=60, device_maps={other: maps[rank]} if maps else {}
    )
    rpc.init_rpc(f"worker{rank}", rank=rank, world_size=2, rpc_backend_options=options)
    yield other
    rpc.shutdown()


def describe(tensor: torch.Tensor) -> tuple[str, list[float]]:
    return str(tensor.device), tensor.tolist()


def add_to_both(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, str]:
    return a + b, f"{a.device} {b.device}"


def arguments_and_results(rank: int, store: str) -> Any:
    with workers(rank, store, DEVICE_MAPS) as other:
        mine = torch.arange(4.0, device=f"cuda:{rank}")
        result, devices = rpc.rpc_sync(other, add_to_both, (mine, torch.ones(4, device=mine.device)))
        late = rpc.rpc_async(other, torch.mul, (mine, mine)).wait()
        return describe(result), devices, describe(late)


def test_arguments_and_results(on_ranks: OnRanks, tmp_path: Path) -> None:
    answers = on_ranks(arguments_and_results, str(tmp_path / "rpc"), backend=None)
    for rank, (result, devices, late) in enumerate(answers):
        here, there = f"cuda:{rank}", f"cuda:{1 - rank}"
        assert devices == f"{there} {there}"
        assert result == (here, [1, 2, 3, 4])
        assert late == (here, [0, 1, 4, 9])


def views_and_large_tensors(rank: int, store: str) -> Any:
    with workers(rank, store, DEVICE_MAPS) as other:
        large = torch.arange(1 << 20, device=f"cuda:{rank}").view(1024, 1024)
        back = rpc.rpc_sync(other, torch.t, (large,))
        half = rpc.rpc_sync(other, torch.neg, (large[::2, 3].half(),))
        return (
            back.equal(large.t()),
            back.device.index,
            back.stride(),
            half.dtype,
            half.equal(-large[::2, 3].half()),
        )


def test_views_and_large_tensors(on_ranks: OnRanks, tmp_path: Path) -> None:
    answers = on_ranks(views_and_large_tensors, str(tmp_path / "rpc"), backend=None)
    assert answers == [(True, rank, (1, 1024), torch.float16, True) for rank in range(2)]


def remote_references(rank: int, store: str) -> Any:
    with workers(rank, store, DEVICE_MAPS) as other:
        reference = rpc.remote(other, torch.add, (torch.ones(3, device=f"cuda:{rank}"), 1))
        return describe(reference.to_here())


def test_remote_references(on_ranks: OnRanks, tmp_path: Path) -> None:
    answers = on_ranks(remote_references, str(tmp_path / "rpc"), backend=None)
    assert answers == [(f"cuda:{rank}", [2, 2, 2]) for rank in range(2)]


def remote_module(rank: int, store: str) -> Any:
    with workers(rank, store, [{"cuda:0": "cuda:1"}, {"cuda:1": "cuda:0"}]):
        if rank == 1:
            return None
        module = RemoteModule("worker1/cuda:1", nn.Linear, (4, 2))
        output = module(torch.ones(3, 4, device="cuda:0"))
        (weight, bias) = (parameter.to_here() for parameter in module.remote_parameters())
        expected = torch.ones(3, 4) @ weight.detach().cpu().t() + bias.detach().cpu()
        return str(output.device), str(weight.device), torch.allclose(output.cpu(), expected)


def test_remote_module(on_fresh_ranks: OnRanks, tmp_path: Path) -> None:
    answers = on_fresh_ranks(remote_module, str(tmp_path / "rpc"), backend=None)
    assert answers == [("cuda:0", "cuda:0", True), None]


def gradients_across_workers(rank: int, store: str) -> Any:
    with workers(rank, store, DEVICE_MAPS) as other:
        device = f"cuda:{rank}"
        weight = torch.full((2,), 3.0, device=device, requires_grad=True)
        x = torch.tensor([1.0, 2.0], device=device)
        with dist_autograd.context() as context:
            loss = rpc.rpc_sync(other, torch.mul, (weight, x)).sum()
            dist_autograd.backward(context, [loss])
            (gradient,) = dist_autograd.get_gradients(context).values()
            optimizer = DistributedOptimizer(torch.optim.SGD, [rpc.RRef(weight)], lr=1.0)
            optimizer.step(context)
        return describe(gradient), describe(weight.detach())


def test_gradients_across_workers(on_ranks: OnRanks, tmp_path: Path) -> None:
    answers = on_ranks(gradients_across_workers, str(tmp_path / "rpc"), backend=None)
    assert answers == [((f"cuda:{rank}", [1, 2]), (f"cuda:{rank}", [2, 1])) for rank in range(2)]


def without_a_device_map(rank: int, store: str) -> Any:
    with workers(rank, store) as other:
        with pytest.raises(RuntimeError) as error:
            rpc.rpc_sync(other, torch.neg, (torch.ones(2, device="cuda"),))
        return str(error.value)


def test_without_a_device_map(on_ranks: OnRanks, tmp_path: Path) -> None:
    for text in on_ranks(without_a_device_map, str(tmp_path / "rpc"), backend=None):
        assert "TensorPipe RPC backend only supports CPU tensors by default, please move your tensors to CPU" in text
