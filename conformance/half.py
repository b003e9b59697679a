"""`python -m conformance.half`: operators on halves against the same in float32, rounded once.

Every OpInfo that torch describes for float16 or bfloat16 on CUDA is called with the same numbers in halves and in
float32, forward and backward. Distances are in units in the last place of the half type, of the expected value or of
1/256 of the largest one beside it: where terms cancel, float32 itself has no more. An operator further away than
LIMIT must stand in half_ledger.toml with the reason, and only such an operator may.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from torchdevice.testing import ledger

ROOT = Path(__file__).resolve().parent.parent
LEDGER = Path(__file__).with_name("half_ledger.toml")
LIMIT = 2.0
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
#: Samples of each operator that are tried.
SAMPLES = 12


@dataclass(frozen=True)
class Entry(ledger.Entry):
    """Operators that may be further away, and in which pass; "" means both."""

    passes: str = ""
    dtypes: list[str] = field(default_factory=list)

    def matches(self, name: str, dtype: str, direction: str) -> bool:
        return self.covers(name) and self.passes in ("", direction) and (not self.dtypes or dtype in self.dtypes)


def ulps(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest distance; infinite where one is NaN or infinite and the other is not."""
    half = found.dtype
    a, b = found.detach().cpu().double(), expected.detach().to(half).cpu().double()
    if a.shape != b.shape:
        return math.inf
    finite = a.isfinite() & b.isfinite()
    if not torch.equal(a[~finite].nan_to_num(nan=7.0), b[~finite].nan_to_num(nan=7.0)):
        return math.inf
    a, b = a[finite], b[finite]
    if a.numel() == 0:
        return 0.0
    info = torch.finfo(half)
    scale = b.abs().maximum(b.abs().max() / 256).clamp_min(info.tiny)
    unit = torch.exp2(torch.floor(torch.log2(scale))) * info.eps
    return float(((a - b).abs() / unit).max())


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.layout == torch.strided:
            yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors(one)


def mapped(value: Any, change: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(mapped(one, change) for one in value)
    if isinstance(value, dict):
        return {name: mapped(one, change) for name, one in value.items()}
    return value


def run(info: Any, sample: Any, half: torch.dtype, dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The results and the gradients in one type, from a sample in halves."""

    def typed(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype != half:
            return tensor.detach()
        return tensor.detach().to(dtype, copy=True).requires_grad_(tensor.requires_grad)

    args = mapped((sample.input, *sample.args), typed)
    kwargs = mapped(sample.kwargs, lambda tensor: typed(tensor))
    kwargs = {name: dtype if one is half else one for name, one in kwargs.items()}
    torch.manual_seed(0)
    results = list(tensors(info(*args, **kwargs)))
    leaves = [one for one in tensors((args, kwargs)) if one.requires_grad]
    roots = [one for one in results if one.requires_grad]
    if not leaves or not roots or not info.supports_autograd:
        return results, []
    generator = torch.Generator().manual_seed(1)
    grads = [torch.rand(one.shape, generator=generator).to(half).to(one.device, one.dtype) for one in roots]
    found = torch.autograd.grad(roots, leaves, grads, allow_unused=True)
    return results, [one for one in found if one is not None]


def measure(index: int, name: str) -> dict[str, Any]:
    """The largest distances of one OpInfo in one half type."""
    from torch.testing._internal.common_methods_invocations import op_db

    info, half = op_db[index], HALVES[name]
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "op": full_name(info),
        "dtype": name,
        "forward": 0.0,
        "backward": 0.0,
        "samples": 0,
        "errors": 0,
    }
    try:
        samples = list(info.sample_inputs("cuda", half, requires_grad=info.supports_autograd))[:SAMPLES]
    except Exception as error:
        return {**found, "unmade": str(error)[:200]}
    for sample in samples:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ours, wide = run(info, sample, half, half), run(info, sample, half, torch.float32)
        except Exception:
            found["errors"] += 1
            continue
        found["samples"] += 1
        for direction, mine, reference in zip(("forward", "backward"), ours, wide, strict=True):
            for a, b in zip(mine, reference, strict=False):
                if a.dtype == half and b.dtype in (torch.float32, half):
                    found[direction] = max(found[direction], ulps(a, b))
    return found


def full_name(info: Any) -> str:
    return f"{info.name}.{info.variant_test_name}" if info.variant_test_name else str(info.name)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.half", description=__doc__)
    parser.add_argument("--ops", default="", help="regular expression on the operators' names")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "half.jsonl")
    options = parser.parse_args()
    from torch.testing._internal.common_methods_invocations import op_db

    jobs = [
        (index, name)
        for index, info in enumerate(op_db)
        for name, half in HALVES.items()
        if re.search(options.ops, full_name(info)) and half in (info.dtypesIfCUDA or info.dtypes)
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results = []
    with (
        ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool,
        options.out.open("w", encoding="utf-8", buffering=1) as output,
    ):
        for one in pool.map(measure, *zip(*jobs, strict=True), chunksize=4):
            results.append(one)
            output.write(json.dumps(one) + "\n")
    entries = ledger.load(LEDGER, Entry)
    far = [
        (one["op"], one["dtype"], direction, one[direction])
        for one in results
        for direction in ("forward", "backward")
        if one[direction] > LIMIT
    ]
    unlisted = [one for one in far if not any(entry.matches(*one[:3]) for entry in entries)]
    idle = [
        entry
        for entry in entries
        if not (options.ops or entry.sometimes or any(entry.matches(*one[:3]) for one in far))
    ]
    for name, dtype, direction, distance in unlisted:
        print(f"{name} {dtype} {direction}: {distance:.1f} ulp")
    for entry in idle:
        print(f"passes: {entry.names}")
    print(f"{len(results)} pairs, {len({one[:2] for one in far})} above {LIMIT} ulp, {len(unlisted)} of them unlisted")
    return 1 if unlisted or idle else 0


if __name__ == "__main__":
    sys.exit(main())
