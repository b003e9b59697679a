"""Whole programs, training and inference: time on cuda over time on cpu."""

from __future__ import annotations

import functools
import gc
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.fresh import FreshProcess
from benchmarks.pairs import ratio_of_turns, seconds

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from gpt import GPT, GPTConfig


class Residual(nn.Module):
    """Two convolutions around a shortcut; optionally with a downsampling first one."""

    def __init__(self, channels: int, wider: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, wider, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(wider, wider, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(wider), nn.BatchNorm2d(wider)])
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels, wider, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.shortcut(x))


class ConvNet(nn.Sequential):
    """A small ResNet: images of 3 x 32 x 32 to 10 logits."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, 1, 1),
            Residual(16, 16),
            Residual(16, 32, 2),
            Residual(32, 64, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )


class Sequence(nn.Module):
    """Two LSTM layers over sequences of 32 numbers, to 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(32, 64, num_layers=2, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        logits: Tensor = self.head(states[:, -1])
        return logits


class UNet(nn.Module):
    """One level down and up, group norms and attention in the middle: the parts of a diffusion model."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, width, 3, 1, 1)
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.norm = nn.GroupNorm(8, 2 * width)
        self.attention = nn.MultiheadAttention(2 * width, 4, batch_first=True)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.leave = nn.Conv2d(2 * width, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = F.silu(self.enter(x))
        low = F.silu(self.norm(self.down(high)))
        tokens = low.flatten(2).transpose(1, 2)
        low = low + self.attention(tokens, tokens, tokens)[0].transpose(1, 2).view_as(low)
        result: Tensor = self.leave(torch.cat([high, F.silu(self.up(low))], 1))
        return result


class Graph(nn.Module):
    """Two rounds of messages along 4096 edges between 512 nodes, to 10 logits per node."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)])
        generator = torch.Generator().manual_seed(0)
        self.edges = nn.Buffer(torch.randint(512, (2, 4096), generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        source, target = self.edges.unbind()
        for layer in self.layers[:-1]:
            x = F.relu(torch.zeros_like(x).index_add_(0, target, layer(x)[source]) + x)
        logits: Tensor = self.layers[-1](x)
        return logits


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10))


def gpt() -> nn.Module:
    return GPT(GPTConfig(context=128, layers=4, heads=4, width=128))


def mixed(device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16)


def tokens() -> tuple[Tensor, Tensor]:
    return torch.randint(256, (8, 128)), torch.randint(256, (8, 128))


def numbers(*shape: int, targets: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(*shape), torch.randint(10, (targets,)))


def images() -> tuple[Tensor, Tensor]:
    x = torch.randn(8, 1, 28, 28)
    return x, x


class Program:
    """A model, its optimizer and one batch, on one device."""

    def __init__(
        self,
        device: str,
        make: Callable[[], nn.Module],
        batch: Callable[[], tuple[Tensor, Tensor]],
        precision: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
        **optimizer: bool,
    ) -> None:
        torch.manual_seed(0)
        self.model = make().to(device)
        self.precision = precision(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **optimizer)  # type: ignore[arg-type]
        self.input, self.target = (part.to(device) for part in batch())

    def train(self) -> float:
        """One step; returns the loss."""
        with self.precision:
            output = self.model(self.input)
            if self.target.is_floating_point():
                loss = F.mse_loss(output, self.target)
            else:
                loss = F.cross_entropy(output.flatten(0, -2), self.target.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def infer(self) -> float:
        """One forward pass; returns a number of its result."""
        with torch.inference_mode(), self.precision:
            return float(self.model(self.input).flatten()[0].item())


PROGRAMS: dict[str, Callable[[str], Program]] = {
    "GPT": lambda d: Program(d, gpt, tokens, fused=True),
    "GPT, bf16 autocast": lambda d: Program(d, gpt, tokens, mixed, fused=True),
    "conv net": lambda d: Program(d, ConvNet, numbers(16, 3, 32, 32, targets=16), foreach=True),
    "LSTM": lambda d: Program(d, Sequence, numbers(16, 48, 32, targets=16), foreach=True),
    "UNet": lambda d: Program(d, UNet, images, foreach=True),
    "MLP, foreach": lambda d: Program(d, mlp, numbers(64, 64, targets=64), foreach=True),
    "MLP, fused": lambda d: Program(d, mlp, numbers(64, 64, targets=64), fused=True),
    "graph network": lambda d: Program(d, Graph, numbers(512, 64, targets=512), foreach=True),
}


def serve(name: str, device: str) -> None:
    """What a process of its own does: for each line "train 10" or "infer 10", prints the seconds of one run."""
    program = PROGRAMS[name](device)
    gc.disable()
    for line in sys.stdin:
        what, repeats = line.split()
        print(seconds(getattr(program, what), int(repeats)), flush=True)


def _seconds(process: FreshProcess, what: str, repeats: int) -> float:
    return float(process.ask(f"{what} {repeats}"))


def ratios(processes: int = 5, rounds: int = 5) -> dict[str, float]:
    """Cuda over cpu, for a training step and for inference of each program.

    Each device has a process of its own, since threads that one of them leaves waiting change how OpenMP treats the
    other's. Two processes that do the same differ by up to a tenth, hence the median of several.
    """
    result: dict[str, float] = {}
    for name in PROGRAMS:
        code = f"from benchmarks.programs import serve; serve({name!r}, {{!r}})"
        found = defaultdict(list)
        for _ in range(processes):
            with FreshProcess(code.format("cuda")) as cuda, FreshProcess(code.format("cpu")) as cpu:
                for what, title, budget in (("train", "training", 0.1), ("infer", "inference", 0.05)):
                    timers = (functools.partial(_seconds, process, what) for process in (cuda, cpu))
                    found[title].append(ratio_of_turns(*timers, rounds=rounds, budget=budget))
        result.update({f"{name}: {title}": statistics.median(each) for title, each in found.items()})
    return result
