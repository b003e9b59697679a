"""Train a classifier in several processes by DistributedDataParallel; each process has a GPU and a part of the data.

    TORCHDEVICE_COUNT=2 torchrun --nproc-per-node 2 examples/train_ddp.py     # with two GPUs: without TORCHDEVICE_COUNT

Writes regions.png, what the network makes of the plane, into the folder --out.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import torch
import torch.distributed as dist
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def arms(count: int) -> TensorDataset:
    """Points on three interleaved spiral arms, and which arm each is on."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (count,), generator=generator)
    radius = torch.rand(count, generator=generator)
    angle = 4 * radius + 2 * math.pi / 3 * labels + 0.2 * torch.randn(count, generator=generator)
    return TensorDataset(torch.stack([radius * angle.sin(), radius * angle.cos()], 1), labels)


def average(value: Tensor) -> float:
    dist.all_reduce(value, op=dist.ReduceOp.AVG)
    return value.item()


def show(model: nn.Module, data: TensorDataset, path: Path) -> None:
    grid = torch.linspace(-1.1, 1.1, 150)
    plane = torch.cartesian_prod(grid, grid).cuda()
    with torch.inference_mode():
        regions = model(plane).argmax(1).view(150, 150).cpu()
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(grid, grid, regions.T, cmap="Pastel1", vmin=0, vmax=2)
    points, labels = data.tensors
    axes.scatter(points[:600, 0], points[:600, 1], c=labels[:600], s=8, cmap="Set1", vmin=0, vmax=2)
    axes.set(title="Arms of a spiral and what the network takes for them", aspect="equal")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("out/ddp"))
    options = parser.parse_args()
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    torch.manual_seed(1)
    data = arms(4096)
    sampler: DistributedSampler[tuple[Tensor, ...]] = DistributedSampler(data)
    loader = DataLoader(data, batch_size=128, sampler=sampler)
    network = nn.Sequential(
        nn.Linear(2, 64), nn.SyncBatchNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
    )
    model = DistributedDataParallel(network.cuda(), device_ids=[torch.cuda.current_device()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses: list[float] = []
    epoch = 0
    while len(losses) < options.steps:
        sampler.set_epoch(epoch)
        epoch += 1
        for points, labels in loader:
            loss = nn.functional.cross_entropy(model(points.cuda()), labels.cuda())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(average(loss.detach()))
            if len(losses) == options.steps:
                break
    if dist.get_rank() == 0:
        options.out.mkdir(parents=True, exist_ok=True)
        show(model.module.eval(), data, options.out / "regions.png")
        print(f"{dist.get_world_size()} ranks, loss {losses[0]:.3f} -> {losses[-1]:.3f}; see {options.out}/regions.png")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
