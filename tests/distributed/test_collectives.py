"""Every collective on cuda tensors, by nccl and by gloo, against gloo's on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

OnRanks = Callable[..., list[Any]]
Op = dist.ReduceOp


def values(rank: int, device: str, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return (torch.arange(1.0, count + 1) * (rank + 1)).reshape(shape).to(dtype).to(device)


def all_reduce(rank: int, device: str) -> list[torch.Tensor]:
    results = []
    for op in (Op.SUM, Op.PRODUCT, Op.MIN, Op.MAX, Op.AVG):
        results.append(values(rank, device, 2, 3))
        dist.all_reduce(results[-1], op)
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int32, torch.int64):
        results.append(values(rank, device, 5, dtype=dtype))
        dist.all_reduce(results[-1])
    results.append(torch.tensor([rank == 0, False], device=device))
    dist.all_reduce(results[-1])
    results.append(torch.complex(values(rank, device, 3), values(rank, device, 3)))
    dist.all_reduce(results[-1])
    results.append(values(rank, device, 1, 2, 2, 2).contiguous(memory_format=torch.channels_last))
    dist.all_reduce(results[-1])
    results.append(torch.empty(0, device=device))
    dist.all_reduce(results[-1])
    return results


def coalesced(rank: int, device: str) -> list[torch.Tensor]:
    reduced = [values(rank, device, 2), values(rank, device, 3, 2)]
    with dist._coalescing_manager():
        for tensor in reduced:
            dist.all_reduce(tensor)
    gathered = [torch.zeros(4, device=device), torch.zeros(6, device=device)]
    with dist._coalescing_manager():
        dist.all_gather_into_tensor(gathered[0], values(rank, device, 2))
        dist.all_gather_into_tensor(gathered[1], values(rank, device, 3))
    scattered = [torch.zeros(2, device=device), torch.zeros(3, device=device)]
    with dist._coalescing_manager(async_ops=True) as manager:
        dist.reduce_scatter_tensor(scattered[0], values(rank, device, 4))
        dist.reduce_scatter_tensor(scattered[1], values(rank, device, 6))
    manager.wait()
    return [*reduced, *gathered, *scattered]


def broadcast(rank: int, device: str) -> list[torch.Tensor]:
    results = [values(rank, device, 2, 3), values(rank, device, 4, dtype=torch.complex64)]
    for result in results:
        dist.broadcast(result, src=1)
    return results


def reduce(rank: int, device: str) -> list[torch.Tensor]:
    result = values(rank, device, 4)
    dist.reduce(result, dst=1, op=Op.MAX)
    return [result] if rank == 1 else []


def all_gather(rank: int, device: str) -> list[torch.Tensor]:
    parts = [torch.zeros(2, 2, device=device) for _ in range(2)]
    dist.all_gather(parts, values(rank, device, 2, 2))
    whole = torch.zeros(4, 3, device=device)
    dist.all_gather_into_tensor(whole, values(rank, device, 2, 3))
    transposed = [torch.zeros(2, 3, device=device).t() for _ in range(2)]
    dist.all_gather(transposed, values(rank, device, 3, 2))
    return [*parts, whole, *transposed]


def gather_and_scatter(rank: int, device: str) -> list[torch.Tensor]:
    parts = [torch.zeros(3, device=device) for _ in range(2)]
    dist.gather(values(rank, device, 3), parts if rank == 0 else None, dst=0)
    mine = torch.zeros(2, device=device)
    dist.scatter(mine, [values(9, device, 2), values(4, device, 2)] if rank == 1 else None, src=1)
    return [*parts, mine]


def reduce_scatter(rank: int, device: str) -> list[torch.Tensor]:
    results = []
    for op in (Op.SUM, Op.MAX, Op.AVG):
        results.append(torch.zeros(2, device=device))
        dist.reduce_scatter(results[-1], [values(rank, device, 2), values(rank + 1, device, 2)], op)
        results.append(torch.zeros(2, 2, device=device))
        dist.reduce_scatter_tensor(results[-1], values(rank, device, 4, 2), op)
    return results


def all_to_all(rank: int, device: str) -> list[torch.Tensor]:
    parts = [torch.zeros(2, device=device) for _ in range(2)]
    dist.all_to_all(parts, [values(rank, device, 2), values(rank + 5, device, 2)])
    single = torch.zeros(4, 2, device=device)
    dist.all_to_all_single(single, values(rank, device, 4, 2))
    uneven = torch.zeros(3, device=device)
    splits = [1, 2] if rank == 0 else [2, 1]
    dist.all_to_all_single(uneven, values(rank, device, 3), splits, splits)
    return [*parts, single, uneven]


def point_to_point(rank: int, device: str) -> list[torch.Tensor]:
    received = [torch.zeros(3, device=device) for _ in range(3)]
    if rank == 0:
        dist.send(values(rank, device, 3), dst=1)
        dist.isend(values(rank, device, 3), dst=1).wait()
    else:
        dist.recv(received[0], src=0)
        dist.irecv(received[1], src=0).wait()
    operations = [
        dist.P2POp(dist.isend, values(rank, device, 3), 1 - rank),
        dist.P2POp(dist.irecv, received[2], 1 - rank),
    ]
    for work in dist.batch_isend_irecv(operations):
        work.wait()
    return received


def objects(rank: int, device: str) -> list[Any]:
    gathered: list[Any] = [None, None]
    dist.all_gather_object(gathered, {"rank": rank})
    shared = [rank, "text"] if rank == 0 else [None, None]
    dist.broadcast_object_list(shared, src=0)
    mine: list[Any] = [None]
    dist.scatter_object_list(mine, [10, 11] if rank == 0 else None, src=0)
    at_root: list[Any] | None = [None, None] if rank == 0 else None
    dist.gather_object(rank, at_root, dst=0)
    dist.barrier()
    return [gathered, shared, mine, at_root]


COLLECTIVES = [
    all_reduce,
    coalesced,
    broadcast,
    reduce,
    all_gather,
    gather_and_scatter,
    reduce_scatter,
    all_to_all,
    point_to_point,
]


def on_cpu(rank: int, collective: Callable[[int, str], list[Any]], device: str) -> list[Any]:
    return [x.cpu() for x in expect_device(collective(rank, device), device)]


def expect_device(results: list[torch.Tensor], device: str) -> list[torch.Tensor]:
    assert {x.device.type for x in results} <= {device}
    return results


@pytest.mark.parametrize("backend", ["nccl", "gloo", "cuda:gloo"])
@pytest.mark.parametrize("collective", COLLECTIVES, ids=lambda f: f.__name__)
def test_like_gloo_on_the_cpu(on_ranks: OnRanks, collective: Callable[[int, str], list[Any]], backend: str) -> None:
    expected = on_ranks(on_cpu, collective, "cpu", backend="gloo")
    actual = on_ranks(on_cpu, collective, "cuda", backend=backend)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("backend", ["nccl", "gloo", None])
def test_objects(on_ranks: OnRanks, backend: str | None) -> None:
    assert on_ranks(objects, "", backend=backend) == [
        [[{"rank": 0}, {"rank": 1}], [0, "text"], [10], [0, 1]],
        [[{"rank": 0}, {"rank": 1}], [0, "text"], [11], None],
    ]


def both_devices(rank: int) -> tuple[float, float]:
    on_cpu, on_cuda = torch.full((2,), rank + 1.0), torch.full((2,), rank + 1.0, device="cuda")
    dist.all_reduce(on_cpu)
    dist.all_reduce(on_cuda)
    return on_cpu.sum().item(), on_cuda.sum().item()


@pytest.mark.parametrize("backend", ["gloo", "cuda:nccl,cpu:gloo"])
def test_groups_for_both_devices(on_ranks: OnRanks, backend: str | None) -> None:
    assert on_ranks(both_devices, backend=backend) == [(6.0, 6.0)] * 2


def without_copies(rank: int) -> None:
    x = torch.full((3,), rank + 1.0, device="cuda")
    before = torch.cuda.memory_allocated(), x.data_ptr(), x._version
    dist.all_reduce(x)
    dist.broadcast(x, 0)
    assert (torch.cuda.memory_allocated(), x.data_ptr(), x._version) == before
    assert x.tolist() == [3.0] * 3


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_collectives_copy_nothing(on_ranks: OnRanks, backend: str) -> None:
    on_ranks(without_copies, backend=backend)


def sparse_sum(rank: int) -> list[Any]:
    x = torch.sparse_coo_tensor([[rank, 2]], [1.0, 2.0], (3,), device="cuda")
    dist.all_reduce(x)
    return x.to_dense().tolist()


def test_gloo_reduces_sparse_tensors(on_ranks: OnRanks) -> None:
    assert on_ranks(sparse_sum, backend="gloo") == [[1.0, 1.0, 4.0]] * 2


def mixed_devices(rank: int) -> None:
    with pytest.raises(ValueError, match="expected all tensors to be on the same CUDA device"):
        dist.all_gather([torch.zeros(2, device="cuda"), torch.zeros(2)], torch.zeros(2, device="cuda"))


def test_gloo_refuses_mixed_devices(on_ranks: OnRanks) -> None:
    on_ranks(mixed_devices, backend="gloo")


def methods(rank: int) -> None:
    group = dist.group.WORLD._get_backend(torch.device("cuda"))
    x = torch.full((3,), rank + 1.0, device="cuda")
    work = group.allreduce([x])
    work.wait()
    assert x.tolist() == [3.0] * 3
    assert work.get_future().wait()[0].is_cuda
    group.allreduce(x, Op.MAX).wait()
    parts = [[torch.zeros(3, device="cuda") for _ in range(2)]]
    work = group.allgather(parts, [x * rank])
    work.wait()
    assert [part.tolist() for part in parts[0]] == [[0.0] * 3, [3.0] * 3]
    assert len(work.result()) == 2
    assert len(work.get_future().wait()) == 2
    group.broadcast(tensor=x, root=0).wait()
    if group.name() == "gloo":
        on_cpu = torch.ones(2)
        group.allreduce(on_cpu).wait()
        assert on_cpu.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_methods_of_the_backend_itself(on_ranks: OnRanks, backend: str) -> None:
    on_ranks(methods, backend="cuda:nccl" if backend == "nccl" else backend)
