"""Training on two ranks gives on cuda with nccl what it gives on the CPU with gloo."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

OnRanks = Callable[..., list[Any]]
Trainer = Callable[[str], list[torch.Tensor]]


def model_on(device: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).to(device)


def batch(step: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(10 * step + dist.get_rank())
    return tuple(torch.randn(6, width, generator=generator).to(device) for width in (8, 4))  # type: ignore[return-value]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, device: str, steps: int = 4) -> list[torch.Tensor]:
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        data, target = batch(step, device)
        loss = nn.functional.mse_loss(model(data), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def ddp(device: str, **options: Any) -> list[torch.Tensor]:
    model = nn.parallel.DistributedDataParallel(model_on(device), **options)
    losses = train(model, torch.optim.AdamW(model.parameters(), lr=0.01), device)
    return [*losses, *model.parameters()]


def ddp_plain(device: str) -> list[torch.Tensor]:
    return ddp(device)


def ddp_static_graph(device: str) -> list[torch.Tensor]:
    return ddp(device, static_graph=True)


def ddp_bucket_view(device: str) -> list[torch.Tensor]:
    return ddp(device, gradient_as_bucket_view=True, bucket_cap_mb=0.001)


def ddp_unused_parameters(device: str) -> list[torch.Tensor]:
    return ddp(device, find_unused_parameters=True)


def ddp_no_sync(device: str) -> list[torch.Tensor]:
    model = nn.parallel.DistributedDataParallel(model_on(device))
    for step in range(4):
        with model.no_sync() if step % 2 == 0 else contextlib.nullcontext():
            data, target = batch(step, device)
            nn.functional.mse_loss(model(data), target).backward()
    return [parameter.grad for parameter in model.parameters()]  # type: ignore[misc]


def with_hook(device: str, register: Callable[[nn.parallel.DistributedDataParallel], None]) -> list[torch.Tensor]:
    model = nn.parallel.DistributedDataParallel(model_on(device))
    register(model)
    return [*train(model, torch.optim.SGD(model.parameters(), lr=0.1), device), *model.parameters()]


def ddp_fp16_hook(device: str) -> list[torch.Tensor]:
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

    return with_hook(device, lambda model: model.register_comm_hook(None, fp16_compress_hook))


def ddp_own_hook(device: str) -> list[torch.Tensor]:
    def halve(_: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
        reduced = dist.all_reduce(bucket.buffer().div_(2), async_op=True).get_future()
        return reduced.then(lambda done: done.value()[0])

    halve.__annotations__.clear()  # torch compares them with classes and these are strings
    return with_hook(device, lambda model: model.register_comm_hook(None, halve))


def ddp_powersgd_hook(device: str) -> list[torch.Tensor]:
    from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook

    state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=2, start_powerSGD_iter=2)
    return with_hook(device, lambda model: model.register_comm_hook(state, powerSGD_hook.powerSGD_hook))


def ddp_builtin_hook(device: str) -> list[torch.Tensor]:
    return with_hook(device, lambda model: model._register_builtin_comm_hook(dist.BuiltinCommHookType.FP16_COMPRESS))


def zero_redundancy_optimizer(device: str) -> list[torch.Tensor]:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = nn.parallel.DistributedDataParallel(model_on(device))
    optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, lr=0.01)
    return [*train(model, optimizer, device), *model.parameters()]


def fsdp1(device: str) -> list[torch.Tensor]:
    from torch.distributed.fsdp import FullyShardedDataParallel

    if device == "cpu":  # where FSDP1 would look for an accelerator: the same training without it
        whole = nn.parallel.DistributedDataParallel(model_on(device))
        return [*train(whole, torch.optim.Adam(whole.parameters(), lr=0.01), device), *whole.parameters()]
    model = FullyShardedDataParallel(model_on(device), device_id=0, use_orig_params=True)
    losses = train(model, torch.optim.Adam(model.parameters(), lr=0.01), device)
    with FullyShardedDataParallel.summon_full_params(model):
        return [*losses, *(parameter.detach().clone() for parameter in model.parameters())]


def sharded(device: str, **options: Any) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (2,))
    model = model_on(device)
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh, **options)
    return fully_shard(model, mesh=mesh, **options)  # type: ignore[return-value]


def fsdp2(device: str) -> list[torch.Tensor]:
    model = sharded(device)
    losses = train(model, torch.optim.AdamW(model.parameters(), lr=0.01), device)
    return [*losses, *(parameter.full_tensor() for parameter in model.parameters())]


def fsdp2_mixed_precision(device: str) -> list[torch.Tensor]:
    from torch.distributed.fsdp import MixedPrecisionPolicy

    model = sharded(device, mp_policy=MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32))
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    losses = train(model, torch.optim.SGD(model.parameters(), lr=0.01), device)
    return [*losses, *(parameter.full_tensor() for parameter in model.parameters())]


def tensor_parallel(device: str) -> list[torch.Tensor]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh(device, (2,), mesh_dim_names=("tp",))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(device)
    model = parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(3):
        optimizer.zero_grad()
        data = torch.randn(6, 8, generator=torch.Generator().manual_seed(step)).to(device)
        loss = model(data).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return [*losses, *(parameter.full_tensor() for parameter in model.parameters())]


TRAINERS = [
    ddp_plain,
    ddp_static_graph,
    ddp_bucket_view,
    ddp_unused_parameters,
    ddp_no_sync,
    ddp_fp16_hook,
    ddp_own_hook,
    ddp_builtin_hook,
    zero_redundancy_optimizer,
    fsdp1,
    fsdp2,
    fsdp2_mixed_precision,
    tensor_parallel,
]


def results(rank: int, trainer: Trainer, device: str) -> list[torch.Tensor]:
    tensors = trainer(device)
    assert {tensor.device.type for tensor in tensors} == {device}
    return [tensor.detach().cpu() for tensor in tensors]


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda f: f.__name__)
def test_like_the_cpu(on_ranks: OnRanks, trainer: Trainer) -> None:
    expected = on_ranks(results, trainer, "cpu", backend="gloo")
    actual = on_ranks(results, trainer, "cuda", backend="nccl")
    torch.testing.assert_close(actual, expected)


def test_powersgd_hook(on_ranks: OnRanks) -> None:
    first, second = on_ranks(results, ddp_powersgd_hook, "cuda")  # on the CPU the hook wants no CUDA to be there
    torch.testing.assert_close(first[4:], second[4:], rtol=0, atol=0)
    assert all(x.isfinite().all() for x in first)


def synchronized_statistics(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))).cuda()
    model = nn.parallel.DistributedDataParallel(model)
    data = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).cuda()
    model(data[2 * rank : 2 * rank + 2]).square().sum().backward()
    return model.module[0].running_var.cpu(), model.module[0].weight.grad.cpu() * 2


def test_sync_batch_norm(on_ranks: OnRanks) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    model(torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    for variance, gradient in on_ranks(synchronized_statistics):
        torch.testing.assert_close(variance, model[0].running_var)
        torch.testing.assert_close(gradient, model[0].weight.grad)


def reducer_times(rank: int) -> None:
    model = nn.parallel.DistributedDataParallel(nn.Linear(4, 1).cuda())
    for _ in range(3):  # from its second iteration on the reducer asks its timer
        model(torch.ones(2, 4, device="cuda")).sum().backward()
    times = model._get_ddp_logging_data()
    assert 0 < times["backward_compute_time"] < 60e9
    assert times["forward_compute_time"] > 0
    assert times["backend_name"] == "nccl"


def test_the_reducer_measures_time(on_ranks: OnRanks) -> None:
    on_ranks(reducer_times)


def distributed_tensors(rank: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cuda", (2,), mesh_dim_names=("dp",))
    assert mesh.device_type == "cuda"
    assert mesh.get_local_rank("dp") == rank
    whole = torch.arange(12.0, device="cuda").reshape(4, 3)
    split = distribute_tensor(whole, mesh, [Shard(0)])
    assert split.to_local().is_cuda
    assert split.to_local().tolist() == whole[2 * rank : 2 * rank + 2].tolist()
    assert split.redistribute(placements=[Shard(1)]).full_tensor().tolist() == whole.tolist()
    product = split.t() @ split  # partial sums on each rank
    assert product.redistribute(placements=[Replicate()]).to_local().tolist() == (whole.t() @ whole).tolist()
    summed = DTensor.from_local(torch.ones(4, device="cuda"), mesh, [Partial()]).redistribute(placements=[Shard(0)])
    assert summed.to_local().tolist() == [2.0, 2.0]
    grid = init_device_mesh("cuda", (1, 2), mesh_dim_names=("outer", "inner"))
    assert grid["inner"].size() == 2
    assert dist.get_backend(grid.get_group("inner")) == "nccl"


def test_distributed_tensors(on_ranks: OnRanks) -> None:
    on_ranks(distributed_tensors)


def functional(rank: int) -> None:
    from torch.distributed import _functional_collectives as funcol

    group = dist.group.WORLD
    x = torch.full((4,), rank + 1.0, device="cuda")
    assert funcol.all_reduce(x, "sum", group).tolist() == [3.0] * 4
    assert funcol.all_gather_tensor(x, 0, group).tolist() == [1.0] * 4 + [2.0] * 4
    assert funcol.reduce_scatter_tensor(x, "avg", 0, group).tolist() == [1.5] * 2
    assert funcol.all_to_all_single(x, None, None, group).tolist() == [1.0] * 2 + [2.0] * 2
    assert funcol.broadcast(x, 1, group).tolist() == [2.0] * 4
    assert [y.tolist() for y in funcol.all_reduce_coalesced([x, x[:2]], "max", group)] == [[2.0] * 4, [2.0] * 2]


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_functional_collectives(on_ranks: OnRanks, backend: str) -> None:
    on_ranks(functional, backend=backend)


def saved_and_loaded(rank: int, directory: str) -> None:
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    def state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        model_state, optimizer_state = get_state_dict(model, optimizer)
        return {"model": model_state, "optimizer": optimizer_state}

    model = sharded("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimizer, "cuda", steps=2)
    checkpoint.save(state(model, optimizer), checkpoint_id=directory)
    expected = train(model, optimizer, "cuda", steps=2)

    other = sharded("cuda")
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=0.01)
    loaded = state(other, other_optimizer)
    checkpoint.load(loaded, checkpoint_id=directory)
    set_state_dict(other, other_optimizer, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])
    assert [x.item() for x in train(other, other_optimizer, "cuda", steps=2)] == [x.item() for x in expected]


def test_distributed_checkpoint(on_ranks: OnRanks, tmp_path: Path) -> None:
    on_ranks(saved_and_loaded, str(tmp_path / "checkpoint"))
