"""Trains a diffusion UNet on random images: to say which noise was added.

torchdevice fit --profile a100 benchmarks/fit/unet.py --width 320 --batch 16
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, scaled_dot_product_attention, silu


class Residual(nn.Module):
    def __init__(self, given: int, made: int, time: int) -> None:
        super().__init__()
        self.before, self.between = nn.GroupNorm(32, given), nn.GroupNorm(32, made)
        self.first, self.second = nn.Conv2d(given, made, 3, padding=1), nn.Conv2d(made, made, 3, padding=1)
        self.time = nn.Linear(time, made)
        self.shortcut = nn.Conv2d(given, made, 1) if given != made else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.first(silu(self.before(x))) + self.time(silu(time))[:, :, None, None]
        return self.shortcut(x) + self.second(silu(self.between(y)))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width)
        self.qkv, self.out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, -1, 64)).transpose(3, 4).unbind(1)
        return x + self.out(scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(x.shape))


class UNet(nn.Module):
    """Each level halves the picture; the second and the later ones attend."""

    def __init__(self, width: int, factors: tuple[int, ...] = (1, 2, 4)) -> None:
        super().__init__()
        time = 4 * width
        widths = [width * factor for factor in factors]
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.entry, self.exit = nn.Conv2d(4, width, 3, padding=1), nn.Conv2d(width, 4, 3, padding=1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, made in enumerate(widths):
            given = widths[max(level - 1, 0)]
            attention = Attention(made) if level else nn.Identity()
            self.down.append(nn.ModuleList([Residual(given, made, time), attention, nn.Conv2d(made, made, 3, 2, 1)]))
            attention = Attention(given) if level > 1 else nn.Identity()
            self.up.insert(0, nn.ModuleList([Residual(2 * made, given, time), attention]))
        self.middle = Residual(widths[-1], widths[-1], time)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        time = self.time(time)
        x = self.entry(x)
        kept = []
        for level in self.down:
            residual, attention, halve = level.children()
            x = attention(residual(x, time))
            kept.append(x)
            x = halve(x)
        x = self.middle(x, time)
        for level in self.up:
            residual, attention = level.children()
            x = torch.cat([interpolate(x, scale_factor=2.0), kept.pop()], 1)
            x = attention(residual(x, time))
        return self.exit(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = UNet(options.width)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(options.steps):
        noise = torch.randn(options.batch, 4, options.pixels, options.pixels, device="cuda")
        time = torch.randn(options.batch, options.width, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            loss = mse_loss(model(torch.randn_like(noise), time), noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"{torch.cuda.max_memory_allocated()} bytes at most")


if __name__ == "__main__":
    main()
