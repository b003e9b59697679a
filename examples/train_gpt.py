"""Train a byte-level GPT on the English text of Python's own language reference, then let it write.

    python examples/train_gpt.py                                # on the GPU, bfloat16 autocast
    python examples/train_gpt.py --device cpu --dtype fp32
    python examples/train_gpt.py --steps 2000 --resume out/checkpoint.pt

Writes loss.png, sample.txt, metrics.json and checkpoint.pt into the folder --out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, get_type_hints

import torch
from gpt import GPT, GPTConfig
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class UsageError(ValueError):
    """The options ask for something impossible; the text says what to change."""


def option(default: Any, help: str, **extra: Any) -> Any:
    """A field of Options together with what the command line says about it."""
    return field(default=default, metadata={"help": help, **extra})


@dataclass
class Options:
    """Everything that decides a run; each field is a command line option of the same name."""

    device: str = option("cuda", "where to train", choices=("cuda", "cpu"))
    dtype: str = option("bf16", "autocast type; fp16 scales the loss, fp32 is no autocast", choices=tuple(DTYPES))
    steps: int = option(1000, "optimizer steps of the whole run")
    batch_size: int = option(8, "sequences per forward pass")
    accumulate: int = option(1, "forward passes whose gradients add up to one step")
    context: int = option(128, "bytes that the model sees at once")
    layers: int = option(4, "transformer blocks")
    heads: int = option(4, "attention heads per block")
    width: int = option(128, "features per token")
    dropout: float = option(0.0, "probability of dropping a feature in training")
    learning_rate: float = option(2e-3, "peak, after the warm-up")
    weight_decay: float = option(0.1, "for matrices; vectors are not decayed")
    clip: float = option(1.0, "largest norm of the gradient")
    validate_every: int = option(100, "steps between validations and checkpoints")
    seed: int = option(1, "of initial weights, data order, dropout and sample text")
    sample_bytes: int = option(600, "length of the text written at the end")
    temperature: float = option(0.6, "of the sample")
    top_k: int = option(20, "sample from this many likeliest bytes; 0: from all")
    out: Path = field(default=Path("out"), metadata={"help": "folder for the results"})
    resume: Path | None = field(default=None, metadata={"help": "checkpoint to continue from"})

    def config(self) -> GPTConfig:
        return GPTConfig(256, self.context, self.layers, self.heads, self.width, self.dropout)

    def check(self) -> None:
        """Raise UsageError for what could only fail later, in a less clear way."""
        for name in ("steps", "batch_size", "accumulate", "validate_every", "learning_rate", "clip", "temperature"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("weight_decay", "sample_bytes", "top_k"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative: {getattr(self, name)}")
        try:
            self.config()
        except ValueError as error:
            raise UsageError(str(error)) from None
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("torch sees no CUDA device; use --device cpu")
        if self.resume is not None and not self.resume.is_file():
            raise UsageError(f"no checkpoint at {self.resume}")


def load_text() -> tuple[Tensor, Tensor]:
    """The training text and, from its last tenth, the validation text: 1-D uint8 on the CPU.

    Sections of the reference quote one another: each paragraph is kept once, or validation would see training text.
    Tables and grammar rules, told by their columns, are left out: this is to learn English.
    """
    paragraphs = dict.fromkeys(part for name in sorted(topics) for part in topics[name].split("\n\n"))
    text = "\n\n".join(part for part in paragraphs if "  |" not in part)
    data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    cut = len(data) * 9 // 10
    return data[:cut], data[cut:]


def cut_chunks(data: Tensor, starts: Tensor, length: int) -> Tensor:
    """The pieces of `data` that begin at `starts`: (len(starts), length) int64."""
    return data[starts[:, None] + torch.arange(length)].long()


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over the first 5 % of the steps, then half a cosine down to a tenth."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / max(1, steps - warm_up))
    return 0.1 + 0.45 * (1.0 + math.cos(math.pi * progress))


class Trainer:
    """Model, optimizer and data order of one run, and how far it has come."""

    def __init__(self, options: Options) -> None:
        options.check()
        self.options = options
        self.device = torch.device(options.device)
        self.train_text, self.validation_text = load_text()
        if options.context >= len(self.validation_text):
            longest = len(self.validation_text) - 1
            raise UsageError(f"context {options.context} is longer than the validation text; use at most {longest}")

        torch.manual_seed(options.seed)
        # Born on the CPU and moved, with the data drawn there too: every device starts and learns from the same.
        self.model = GPT(options.config()).to(self.device)
        self.order = torch.Generator().manual_seed(options.seed)
        matrices = [p for p in self.model.parameters() if p.dim() >= 2]
        vectors = [p for p in self.model.parameters() if p.dim() < 2]
        groups = [
            {"params": matrices, "weight_decay": options.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.99), fused=True)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, options.steps)
        )
        self.scaler = torch.amp.GradScaler(options.device, enabled=options.dtype == "fp16")
        self.losses: list[float] = []
        self.validation_losses: list[tuple[int, float]] = []

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, DTYPES[self.options.dtype], enabled=self.options.dtype != "fp32")

    def to_device(self, chunk: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return chunk.pin_memory().to(self.device, non_blocking=True)
        return chunk

    def batches(self) -> Iterator[Tensor]:
        """The forward passes of one step: (batch_size, context + 1) each, at random places of the text."""
        for _ in range(self.options.accumulate):
            last = len(self.train_text) - self.options.context
            starts = torch.randint(last, (self.options.batch_size,), generator=self.order)
            yield self.to_device(cut_chunks(self.train_text, starts, self.options.context + 1))

    def step(self) -> float:
        """One optimizer step; returns the mean training loss in nats per byte."""
        self.model.train()
        total = torch.zeros((), device=self.device)
        for chunk in self.batches():
            with self.autocast():
                loss = self.model.loss(chunk) / self.options.accumulate
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss_value = total.item()
        if not math.isfinite(loss_value):
            step = len(self.losses) + 1
            raise FloatingPointError(f"the loss is {loss_value} at step {step}; try a lower --learning-rate")
        self.losses.append(loss_value)
        return loss_value

    @torch.no_grad()
    def validate(self, windows: int = 64) -> float:
        """The mean loss over `windows` pieces of the validation text, the same ones each time."""
        self.model.eval()
        last = len(self.validation_text) - self.options.context - 1
        chunks = cut_chunks(self.validation_text, torch.linspace(0, last, windows).long(), self.options.context + 1)
        total = 0.0
        for first in range(0, windows, self.options.batch_size):
            chunk = chunks[first : first + self.options.batch_size]
            with self.autocast():
                total += self.model.loss(self.to_device(chunk)).item() * len(chunk)
        self.validation_losses.append((len(self.losses), total / windows))
        return total / windows

    def sample(self, prompt: str = "The ") -> str:
        """Text that begins with `prompt`; the same for the same model, device and seed."""
        tokens = torch.tensor([list(prompt.encode())], device=self.device)
        generator = torch.Generator(self.device).manual_seed(self.options.seed)
        with self.autocast():
            tokens = self.model.generate(
                tokens, self.options.sample_bytes, self.options.temperature, self.options.top_k, generator
            )
        return bytes(tokens[0].tolist()).decode(errors="replace")

    def save(self, path: Path) -> None:
        """Write a checkpoint; a reader finds the old one or the new one, never half of one."""
        state = {
            "config": asdict(self.options.config()),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "losses": self.losses,
            "validation_losses": self.validation_losses,
            "order": self.order.get_state(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }
        partial = path.with_suffix(".tmp")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Continue as if the run that wrote `path` had never stopped; a checkpoint may change device.

        Learning rate, weight decay and seed are that run's, whatever the options say.
        """
        state = torch.load(path, map_location="cpu")
        if state["config"] != asdict(self.options.config()):
            raise UsageError(f"{path} holds another model: {state['config']}; give the same sizes as in that run")
        if len(state["losses"]) >= self.options.steps:
            raise UsageError(f"{path} has {len(state['losses'])} steps behind it; give more --steps")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.losses = state["losses"]
        self.validation_losses = state["validation_losses"]
        self.order.set_state(state["order"])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"])


def plot_losses(trainer: Trainer, path: Path) -> None:
    """Draw training and validation loss against the step."""
    figure = Figure(figsize=(7, 4))  # without pyplot there is no window system to choose: savefig uses Agg
    axes = figure.subplots()
    axes.plot(range(1, len(trainer.losses) + 1), trainer.losses, lw=0.8, alpha=0.7, label="training")
    axes.plot(*zip(*trainer.validation_losses, strict=True), marker="o", ms=3, label="validation")
    axes.set(xlabel="step", ylabel="loss (nats per byte)", title=f"{trainer.options.device} {trainer.options.dtype}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")


def train(options: Options, progress: bool = False) -> dict[str, Any]:
    """Run to `options.steps` and write the results; returns what metrics.json holds.

    `tokens_per_second` comes from the median step, so neither warm-up nor validation counts in it.
    """
    began = time.perf_counter()
    trainer = Trainer(options)
    cuda = options.device == "cuda"
    options.out.mkdir(parents=True, exist_ok=True)
    if options.resume is not None:
        trainer.load(options.resume)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    tokens_per_step = options.batch_size * options.accumulate * options.context
    seconds: list[float] = []
    done = len(trainer.losses)
    with tqdm(total=options.steps, initial=done, disable=not progress, unit="step") as bar:
        for step in range(done + 1, options.steps + 1):
            start = time.perf_counter()
            loss = trainer.step()  # its last act is to read the loss: the device has finished the step
            seconds.append(time.perf_counter() - start)
            if step % options.validate_every == 0 or step == options.steps:
                trainer.validate()
                trainer.save(options.out / "checkpoint.pt")
            shown = {"loss": f"{loss:.3f}", "tokens/s": f"{tokens_per_step / seconds[-1]:,.0f}"}
            if trainer.validation_losses:
                shown["val"] = f"{trainer.validation_losses[-1][1]:.3f}"
            if cuda:
                shown["MiB"] = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"
            bar.set_postfix(shown)
            bar.update()

    sample = trainer.sample()
    metrics = {
        "options": {name: str(value) for name, value in asdict(options).items()},
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "losses": trainer.losses,
        "validation_losses": trainer.validation_losses,
        "step_seconds": seconds,
        "tokens_per_second": tokens_per_step / sorted(seconds)[len(seconds) // 2],
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "seconds": time.perf_counter() - began,
    }
    plot_losses(trainer, options.out / "loss.png")
    (options.out / "sample.txt").write_text(sample, encoding="utf-8")
    (options.out / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    return metrics


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Options from the command line (`arguments` without the program's name); exits with status 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    hints = get_type_hints(Options)
    for item in fields(Options):
        kind = Path if item.name == "resume" else hints[item.name]
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=kind, default=item.default, **item.metadata)
    return Options(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        metrics = train(options, progress=True)
    except UsageError as error:
        print(f"train_gpt: {error}", file=sys.stderr)
        return 2
    print((options.out / "sample.txt").read_text(encoding="utf-8"))
    print(
        f"\n{metrics['parameters'] / 1e6:.2f} M parameters, {options.steps} steps in {metrics['seconds']:.0f} s, "
        f"{metrics['tokens_per_second']:,.0f} tokens/s; loss {metrics['losses'][-1]:.3f}, "
        f"validation {metrics['validation_losses'][-1][1]:.3f}; results in {options.out}/"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
