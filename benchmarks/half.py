"""`python -m benchmarks.half`: float16 and bfloat16 over float32 on the same device, by what the processor may use.

Each row is an operator or a program. Its figures are times in halves over times in float32, both measured in turns in
one process, whose environment keeps oneDNN, ATen and MKL from newer instructions. With `--device cpu` the rows are
those of torch's own CPU device.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import geometric_mean

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks import programs

#: Names of what the processor may use, and the variables that say so.
ISAS = {
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "AVX512_CORE": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"},
    "native": {},
}
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Inputs:
    """The same tensors in one type on one device."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(device, dtype)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator).to(device, dtype)

        self.square, self.other = random(512, 512), random(512, 512)
        self.row = random(512)
        self.batch, self.batches = random(16, 128, 128), random(16, 128, 128)
        self.images, self.kernels = random(8, 32, 32, 32), random(64, 32, 3, 3)
        self.deep, self.transposed = random(32, 1, 3, 3), random(32, 32, 3, 3)
        self.scale, self.shift = uniform(32), random(32)
        self.grid = uniform(8, 32, 32, 2) * 2 - 1
        self.volume = random(2, 16, 12, 24, 24)
        self.query, self.key, self.value = random(2, 8, 256, 64), random(2, 8, 256, 64), random(2, 8, 256, 64)
        self.large, self.larger = random(1024, 1024), uniform(1024, 1024) * 0.98 + 0.01
        self.table = random(1000, 128)
        self.indices = torch.randint(0, 1000, (4096,), generator=generator).to(device)
        self.sequence = random(32, 8, 64)
        self.lstm = nn.LSTM(64, 128, 2).to(device, dtype)
        self.gru = nn.GRU(64, 128).to(device, dtype)


Run = Callable[[Inputs], object]


def with_backward(run: Callable[[Inputs], Tensor], *names: str) -> Run:
    def both(x: Inputs) -> object:
        leaves = [getattr(x, name).requires_grad_() for name in names]
        with torch.enable_grad():
            result = run(x)
            return torch.autograd.grad(result, leaves, torch.ones_like(result))

    return both


def conv2d(x: Inputs) -> Tensor:
    return F.conv2d(x.images, x.kernels, None, 1, 1)


def attention(x: Inputs) -> Tensor:
    return F.scaled_dot_product_attention(x.query, x.key, x.value)


COMPUTE_BOUND: dict[str, Run] = {
    "mm 512": lambda x: x.square @ x.other,
    "linear": lambda x: F.linear(x.square[:64], x.other, x.row),
    "bmm": lambda x: torch.bmm(x.batch, x.batches),
    "conv2d": conv2d,
    "conv2d with backward": with_backward(conv2d, "images", "kernels"),
    "depthwise conv": lambda x: F.conv2d(x.images, x.deep, None, 1, 1, 1, 32),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x.images, x.transposed),
    "LSTM": lambda x: x.lstm(x.sequence)[0],
    "GRU": lambda x: x.gru(x.sequence)[0],
    "sdpa": attention,
    "sdpa with backward": with_backward(attention, "query", "key", "value"),
}
MEMORY_BOUND: dict[str, Run] = {
    "interpolate bilinear": lambda x: F.interpolate(x.images, scale_factor=2, mode="bilinear"),
    "interpolate trilinear": lambda x: F.interpolate(x.volume, scale_factor=2, mode="trilinear"),
    "grid_sample": lambda x: F.grid_sample(x.images, x.grid, align_corners=False),
    "batch_norm": lambda x: F.batch_norm(x.images, None, None, x.scale, x.shift, training=True),
    "group_norm": lambda x: F.group_norm(x.images, 8, x.scale, x.shift),
    "layer_norm": lambda x: F.layer_norm(x.square, (512,), x.row, x.row),
    "softmax": lambda x: torch.softmax(x.large, 1),
    "log_softmax": lambda x: torch.log_softmax(x.large, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x.images, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x.images, 4),
    "max_pool2d": lambda x: F.max_pool2d(x.images, 2),
    "embedding": lambda x: F.embedding(x.indices, x.table),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(x.larger, x.larger),
    "mse_loss": lambda x: F.mse_loss(x.large, x.larger),
    "logit": lambda x: x.larger.logit(),
    "log": lambda x: x.larger.log(),
    "tanh": lambda x: x.large.tanh(),
    "gelu": lambda x: F.gelu(x.large),
    "add": lambda x: x.large + x.larger,
    "mul": lambda x: x.large * x.larger,
    "sum": lambda x: x.large.sum(1),
    "mean": lambda x: x.large.mean(1),
    "topk": lambda x: x.large.topk(10, 1),
    "cat": lambda x: torch.cat([x.large, x.larger]),
}
OPERATORS = {**COMPUTE_BOUND, **MEMORY_BOUND}


class ViT(nn.Module):
    """Patches of 4 x 4 of images of 3 x 32 x 32 through four transformer layers, to 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 128, 4, 4)
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(1))
        return logits


PROGRAMS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]]]] = {
    "GPT": (programs.gpt, programs.tokens),
    "conv net": (programs.ConvNet, programs.numbers(16, 3, 32, 32, targets=16)),
    "UNet": (programs.UNet, programs.images),
    "LSTM": (programs.Sequence, programs.numbers(16, 48, 32, targets=16)),
    "ViT": (ViT, programs.numbers(16, 3, 32, 32, targets=16)),
}


class Training:
    """Steps under autocast, for float16 with a GradScaler; without a type in float32."""

    def __init__(self, name: str, device: str, dtype: torch.dtype | None) -> None:
        make, batch = PROGRAMS[name]
        torch.manual_seed(0)
        self.model = make().to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), foreach=True)
        self.input, self.target = (part.to(device) for part in batch())
        self.autocast = torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None)
        self.scaler = torch.amp.GradScaler(device, enabled=dtype is torch.float16)

    def __call__(self) -> None:
        with self.autocast:
            output = self.model(self.input)
            if self.target.is_floating_point():
                loss = F.mse_loss(output, self.target)
            else:
                loss = F.cross_entropy(output.flatten(0, -2), self.target.flatten())
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()


class Inference:
    """Forward passes of a model that is all in one type."""

    def __init__(self, name: str, device: str, dtype: torch.dtype | None) -> None:
        make, batch = PROGRAMS[name]
        torch.manual_seed(0)
        self.model = make().to(device, dtype or torch.float32).eval()
        x = batch()[0].to(device)
        self.input = x.to(dtype) if dtype is not None and x.is_floating_point() else x

    def __call__(self) -> None:
        with torch.inference_mode():
            self.model(self.input)


def once(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def fastest(runs: dict[str, Callable[[], object]], budget: float) -> dict[str, float]:
    """The fastest time of each, run in turns for about `budget` seconds each."""
    best = {}
    for name, run in runs.items():
        try:
            run()
            best[name] = once(run)
        except RuntimeError:
            best[name] = math.nan  # torch's own CPU lacks some
    for _ in range(max(2, min(200, int(budget / max(best["fp32"], 1e-6))))):
        for name, run in runs.items():
            if best[name] < budget:  # what is that slow need not be measured so well
                best[name] = min(best[name], once(run))
    return best


def measure(device: str, names: Sequence[str], budget: float) -> dict[str, dict[str, float]]:
    """Of each row: seconds in float32, and the halves' times over that."""
    types: dict[str, torch.dtype] = {"fp32": torch.float32, **HALVES}
    inputs = {name: Inputs(device, dtype) for name, dtype in types.items()}
    found = {}
    gc.disable()
    for row in names:
        program, _, what = row.partition(": ")
        if row in OPERATORS:
            with torch.no_grad():
                best = fastest({name: functools.partial(OPERATORS[row], x) for name, x in inputs.items()}, budget)
        else:
            make = Training if what == "training" else Inference
            runs: dict[str, Callable[[], object]] = {
                name: make(program, device, None if name == "fp32" else dtype) for name, dtype in types.items()
            }
            best = fastest(runs, 5 * budget)
        gc.collect()
        found[row] = {"seconds": best["fp32"], **{name: best[name] / best["fp32"] for name in HALVES}}
    return found


def run_under(isa: str, threads: int, device: str, names: Sequence[str], budget: float) -> dict[str, dict[str, float]]:
    code = (
        f"import json, torch; torch.set_num_threads({threads})\n"
        f"from benchmarks.half import measure; print(json.dumps(measure({device!r}, {list(names)!r}, {budget})))"
    )
    environment = {**os.environ, **ISAS[isa]}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def mean(figures: Sequence[float]) -> float:
    return geometric_mean([figure for figure in figures if not math.isnan(figure)] or [math.nan])


def main() -> None:
    every = [*OPERATORS, *(f"{name}: {what}" for name in PROGRAMS for what in ("training", "inference"))]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.half", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="ROW", help=f"of {', '.join(every)}; all without any")
    parser.add_argument("--isa", nargs="+", choices=ISAS, default=list(ISAS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--budget", type=float, default=0.1, help="seconds for each figure")
    options = parser.parse_args()
    names = options.names or every
    columns = [(isa, threads) for isa in options.isa for threads in options.threads]
    found = {
        f"{isa}, {threads} thread(s)": run_under(isa, threads, options.device, names, options.budget)
        for isa, threads in columns
    }
    print(f"{'':28}" + "".join(f" | {column:>19}" for column in found))
    print(f"{'':28}" + " |      bf16      fp16 " * len(found))
    for row in names:
        print(f"{row:28}" + "".join(f" | {rows[row]['bf16']:9.2f} {rows[row]['fp16']:9.2f}" for rows in found.values()))
    for title, part in (("operators", OPERATORS), ("programs", [name for name in every if name not in OPERATORS])):
        chosen = [row for row in names if row in part]
        if chosen:
            means = (mean([rows[row][half] for row in chosen]) for rows in found.values() for half in HALVES)
            print(f"{f'geometric mean, {title}':28} | " + " | ".join(f"{figure:9.2f}" for figure in means))
    Path("out").mkdir(exist_ok=True)
    Path("out/half.json").write_text(json.dumps({"device": options.device, **found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
