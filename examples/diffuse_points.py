"""Train a diffusion model to turn noise into points on a spiral.

    python examples/diffuse_points.py

Writes diffusion.png, the points on their way from noise to the spiral, into the folder --out.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

LEVELS = 100  # of noise


def spiral(count: int) -> Tensor:
    turn = 1.5 * math.pi * (1 + 2 * torch.rand(count, device="cuda").sqrt())
    points = torch.stack([turn * turn.cos(), turn * turn.sin()], 1) / 6
    return points + 0.02 * torch.randn_like(points)


class Denoiser(nn.Module):
    """Guesses the noise that was added to points, from the noisy points and the level of noise."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.level = nn.Embedding(LEVELS, width)
        self.enter = nn.Linear(2 + 4 * 4, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.leave = nn.Linear(width, 2)

    def forward(self, points: Tensor, level: Tensor) -> Tensor:
        waves = torch.cat([points * 2**octave for octave in range(4)], 1)
        x = self.enter(torch.cat([points, waves.sin(), waves.cos()], 1)) + self.level(level)
        for layer in self.hidden:
            x = x + nn.functional.silu(layer(x))
        return self.leave(x)  # type: ignore[no-any-return]


class Diffusion:
    """How much of the data is left at each level, and the way back."""

    def __init__(self) -> None:
        self.noise = torch.linspace(1e-4, 0.08, LEVELS, device="cuda")
        self.left = (1 - self.noise).cumprod(0)

    def loss(self, model: nn.Module, points: Tensor) -> Tensor:
        level = torch.randint(LEVELS, (len(points),), device="cuda")
        noise = torch.randn_like(points)
        left = self.left[level].unsqueeze(1)
        return nn.functional.mse_loss(model(left.sqrt() * points + (1 - left).sqrt() * noise, level), noise)

    @torch.inference_mode()
    def sample(self, model: nn.Module, count: int, seed: int) -> list[Tensor]:
        """Points after every quarter of the way."""
        generator = torch.Generator("cuda").manual_seed(seed)
        points = torch.randn(count, 2, device="cuda", generator=generator)
        stages = [points.cpu()]
        for level in reversed(range(LEVELS)):
            guess = model(points, torch.full((count,), level, device="cuda"))
            points = (points - self.noise[level] / (1 - self.left[level]).sqrt() * guess) / (
                1 - self.noise[level]
            ).sqrt()
            if level:
                points = points + self.noise[level].sqrt() * torch.randn(
                    points.shape, device="cuda", generator=generator
                )
            if level % (LEVELS // 4) == 0:
                stages.append(points.cpu())
        return stages


def train(steps: int, seed: int) -> tuple[nn.Module, Diffusion, list[float]]:
    torch.manual_seed(seed)
    diffusion, model = Diffusion(), Denoiser().cuda()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        loss = diffusion.loss(model, spiral(512))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        losses.append(loss.detach())
    return average.eval(), diffusion, torch.stack(losses).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/diffusion"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("diffuse_points: torch sees no CUDA device")
    options.out.mkdir(parents=True, exist_ok=True)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    model, diffusion, losses = train(options.steps, options.seed)
    end.record()
    end.synchronize()
    stages = diffusion.sample(model, 1000, options.seed)
    figure = Figure(figsize=(2.6 * (len(stages) + 1), 2.8), layout="constrained")
    titles = ["noise", *[f"{25 * stage} %" for stage in range(1, len(stages))], "data"]
    for axes, points, title in zip(figure.subplots(1, len(titles)), [*stages, spiral(1000).cpu()], titles, strict=True):
        axes.scatter(*points.T, s=1)
        axes.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
    figure.savefig(options.out / "diffusion.png")
    print(
        f"loss {losses[0]:.3f} -> {sum(losses[-50:]) / len(losses[-50:]):.3f}, "
        f"{start.elapsed_time(end) / 1000:.1f} s; see {options.out}/diffusion.png"
    )


if __name__ == "__main__":
    main()
