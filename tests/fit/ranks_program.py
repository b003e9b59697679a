"""One small training after the other, by the ways in which ranks share a model; prints each one's peaks."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel


class Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, width: int = 256, layers: int = 3) -> None:
        super().__init__()
        self.entry, self.exit = nn.Linear(64, width), nn.Linear(width, 10)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        for layer in self.layers:
            x = layer(x)
        return self.exit(x)


def ddp(**options: bool) -> nn.Module:
    return DistributedDataParallel(Net().cuda(), **options)


def fsdp1(**options: bool) -> nn.Module:
    return FullyShardedDataParallel(Net().cuda(), auto_wrap_policy=ModuleWrapPolicy({Layer}), **options)


def fsdp2() -> nn.Module:
    model = Net().cuda()
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    return model


def tensor_parallel() -> nn.Module:
    mesh = init_device_mesh("cuda", (dist.get_world_size(),))
    model = Net().cuda()
    for layer in model.layers:
        parallelize_module(layer, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return model


WAYS: dict[str, Callable[[], nn.Module]] = {
    "ddp": ddp,
    "ddp, views": partial(ddp, gradient_as_bucket_view=True),
    "fsdp1": partial(fsdp1, use_orig_params=True),
    "fsdp1, flat": fsdp1,
    "fsdp2": fsdp2,
    "tensor parallel": tensor_parallel,
}


def train(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    for _ in range(3):
        loss = model(torch.randn(64, 64, device="cuda")).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> None:
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    peaks: dict[str, int] = {}
    for name, make in WAYS.items():
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        train(make())
        peaks[name] = torch.cuda.max_memory_allocated() - before
    everybodys: list[dict[str, int]] = [{}] * dist.get_world_size()
    dist.all_gather_object(everybodys, peaks)
    if dist.get_rank() == 0:
        print(json.dumps(everybodys))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
