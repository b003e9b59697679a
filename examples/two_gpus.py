"""Train one network whose halves live on two GPUs; batches are cut into pieces, so that both can work at once.

    TORCHDEVICE_COUNT=2 python examples/two_gpus.py     # on a machine with two GPUs: python examples/two_gpus.py

The network learns a picture: from coordinates to colours. Writes picture.png into the folder --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

FIRST, SECOND = torch.device("cuda:0"), torch.device("cuda:1")
SIZE = 96


def picture() -> tuple[Tensor, Tensor]:
    """Coordinates and colours of a disc before a chessboard."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    board = ((x * 4).floor() + (y * 4).floor()) % 2
    inside = x**2 + y**2 < 0.4
    colours = torch.where(inside, torch.stack([1 - y, 0.3 + 0 * x, 1 + x]) / 2, board.expand(3, -1, -1))
    return torch.stack([x, y], -1).flatten(0, 1), colours.permute(1, 2, 0).flatten(0, 1)


class TwoGpus(nn.Module):
    """The first half ends on the first GPU; what it says is copied to the second."""

    waves: Tensor

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.register_buffer("waves", 6 * torch.randn(2, width // 2, device=FIRST))
        self.first = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()).to(FIRST)
        self.second = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3), nn.Sigmoid()).to(SECOND)

    def forward(self, points: Tensor, pieces: int = 4) -> Tensor:
        ahead: Tensor | None = None
        results = []
        for piece in [*points.chunk(pieces), None]:
            if ahead is not None:
                results.append(self.second(ahead))
            if piece is not None:  # meanwhile the first GPU starts on the next piece
                angles = piece.to(FIRST, non_blocking=True) @ self.waves
                ahead = self.first(torch.cat([angles.sin(), angles.cos()], 1)).to(SECOND, non_blocking=True)
        return torch.cat(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/two_gpus"))
    options = parser.parse_args()
    if torch.cuda.device_count() < 2:
        raise SystemExit(f"two_gpus: needs two CUDA devices, torch sees {torch.cuda.device_count()}")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    points, colours = picture()
    model = TwoGpus()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    losses = []
    for _ in range(options.steps):
        chosen = torch.randint(len(points), (2048,))
        loss = nn.functional.mse_loss(model(points[chosen].pin_memory()), colours[chosen].to(SECOND))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    with torch.inference_mode():
        learned = model(points).view(SIZE, SIZE, 3).cpu()
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    for axes, image, title in zip(
        figure.subplots(1, 2), (colours.view(SIZE, SIZE, 3), learned), ("given", "learned"), strict=True
    ):
        axes.imshow(image)
        axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(options.out / "picture.png")
    memory = ", ".join(
        f"{torch.cuda.max_memory_allocated(device) / 2**20:.1f} MiB on {device}" for device in (FIRST, SECOND)
    )
    print(f"loss {losses[0]:.4f} -> {losses[-1]:.4f}; at most {memory}; see {options.out}/picture.png")


if __name__ == "__main__":
    main()
