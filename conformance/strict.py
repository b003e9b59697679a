"""`python -m conformance.strict`: what a GPU refuses by its type is refused, in CUDA's words.

torch's OpInfos say for each operator which types its kernels know, on the CPU and on CUDA. Each pair that only the CPU
knows is called on its samples, where at least one must raise, and no error may speak of the CPU. A pair that runs all
the same must stand in strict_ledger.toml with the reason, and only such a pair may.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from conformance.half import full_name
from torchdevice.testing import ledger

LEDGER = Path(__file__).with_name("strict_ledger.toml")
#: Samples of each pair that are tried.
SAMPLES = 5
#: A device in a message stands alone; a namespace or a name may have it in it.
NAMES_THE_CPU = re.compile(r"\bCPU\b(?! tensor|\])|_cpu\b")


def pairs() -> Iterator[tuple[Any, torch.dtype]]:
    """Each OpInfo with the types that the CPU's kernels know and CUDA's do not."""
    from torch.testing._internal.common_methods_invocations import op_db

    for info in op_db:
        for dtype in sorted(set(info.dtypes) - set(info.dtypesIfCUDA), key=str):
            yield info, dtype


def errors(info: Any, dtype: torch.dtype) -> list[Exception | None]:
    """What the calls raise, None for each that runs."""
    found: list[Exception | None] = []
    for sample in itertools.islice(info.sample_inputs("cpu", dtype), SAMPLES):
        on_cuda = sample.transform(lambda one: one.cuda() if isinstance(one, torch.Tensor) else one)
        try:
            info(on_cuda.input, *on_cuda.args, **on_cuda.kwargs)
        except Exception as error:
            found.append(error)
        else:
            found.append(None)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.strict", description=__doc__)
    parser.add_argument("--ops", default="", help="regular expression on the operators' names")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    entries = ledger.load(LEDGER, ledger.Entry)
    texts: Counter[str] = Counter()
    running, refused, failures = [], [], []
    for info, dtype in pairs():
        if not re.search(options.ops, full_name(info)):
            continue
        name = f"{full_name(info)} {str(dtype).removeprefix('torch.')}"
        found = errors(info, dtype)
        if found and not any(found):
            running.append(name)
            if ledger.find(entries, name) is None:
                failures.append(f"runs: {name}")
        else:
            refused.append(name)
        for error in filter(None, found):
            first = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            texts[first] += 1
            if NAMES_THE_CPU.search(first):
                failures.append(f"names the CPU: {name}: {first}")
    if not options.ops:
        failures += ledger.passing(entries, refused)
    print(*(f"{number:4} {text}" for text, number in texts.most_common()), *failures, sep="\n")
    print(f"{len(running) + len(refused)} pairs, {len(refused)} refused")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
