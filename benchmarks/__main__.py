"""`python -m benchmarks [NAME ...]`: figures of torchdevice over torch's own CPU device, as tables, JSON and a plot.

Every figure is a ratio of cuda to cpu measured in turns in one run, unless its name says a unit.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import geometric_mean

import torch

from benchmarks import bandwidth, compile, growth, instructions, memory, operators, plots, programs, start, threads

Figures = Mapping[str, object]


def table(title: str, ratios: Mapping[str, float]) -> Figures:
    """Print ratios and their geometric mean."""
    print(f"\n{title}")
    for name, ratio in ratios.items():
        print(f"  {name:32} {ratio:6.3f}")
    mean = geometric_mean(ratios.values())
    print(f"  {'geometric mean':32} {mean:6.3f}", flush=True)
    return {"ratios": dict(ratios), "geometric mean": mean}


def named(values: Mapping[int, float], unit: str) -> dict[str, float]:
    return {f"{value:,} {unit}": ratio for value, ratio in values.items()}


def instructions_figures() -> Figures:
    counts = instructions.measure().counts
    result: dict[str, object] = {}
    for grad in (False, True):
        chosen = [count for count in counts if count.grad == grad]
        title = "Instructions of a small operator, " + ("with gradients" if grad else "without gradients")
        result[title] = {
            **table(title, {count.operator: count.ratio for count in chosen}),
            "counts": {count.operator: [count.cuda, count.cpu] for count in chosen},
        }
    return result


def bandwidth_figures() -> Figures:
    return {
        f"{size >> 20} MiB": table(f"Memory-bound operators, results of {size >> 20} MiB", ratios)
        for size, ratios in bandwidth.ratios().items()
    }


def growth_figures() -> Figures:
    return {what: table(f"One addition by {what}", named(curve, what)) for what, curve in growth.ratios().items()}


def start_figures() -> Figures:
    figures = {
        "import torch, time": start.import_ratio(),
        "import torch, MiB more": start.import_mebibytes(),
        "first operator, ms": start.first_operator_milliseconds(),
    }
    print("\nStart")
    for name, figure in figures.items():
        print(f"  {name:32} {figure:6.3f}", flush=True)
    return figures


def compile_figures() -> Figures:
    return {
        "cuda over cpu": table("Compiled programs, time", compile.devices()),
        **{
            f"compiled over eager on {device}": table(
                f"Compiled programs, time over eager on {device}", compile.gains(device)
            )
            for device in ("cuda", "cpu")
        },
    }


BENCHMARKS: dict[str, Callable[[], Figures]] = {
    "start": start_figures,
    "instructions": instructions_figures,
    "operators": lambda: table("Small operators from Python, time", operators.ratios()),
    "bandwidth": bandwidth_figures,
    "programs": lambda: table("Whole programs, time", programs.ratios()),
    "compile": compile_figures,
    "memory": lambda: table("Whole programs, peak memory", memory.ratios()),
    "threads": lambda: table("Small operators from C++ threads, time", named(threads.ratios(), "threads")),
    "growth": growth_figures,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without any")
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    figures: dict[str, object] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    }
    for name in names:
        figures[name] = BENCHMARKS[name]()
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "benchmarks.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {out / 'benchmarks.json'}")
    if picture := plots.draw(figures, out / "benchmarks.png"):
        print(f"drawn in {picture}")


if __name__ == "__main__":
    main()
