"""Runs the programs of one file, each alone: `corpus.py FILE`. Prints as JSON which kinds of findings each has made.

The programs share a process and a checker. Between two of them the device is waited for, so that nothing of the one can
race with the other; what counts for a program is what was found while it ran.
"""

from __future__ import annotations

import gc
import importlib.util
import inspect
import json
import sys
from collections import Counter
from pathlib import Path
from types import FunctionType

import torch

from torchdevice.check.findings import findings
from torchdevice.check.waits import over_budget, waits

BUDGET = 4  #: waits of a line


def programs(path: Path) -> dict[str, FunctionType]:
    """The functions that are pairs: NAME and NAME_mended."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions = dict(inspect.getmembers(module, inspect.isfunction))
    return {
        name: function
        for name, function in functions.items()
        if f"{name}_mended" in functions or (name.removesuffix("_mended") in functions and name.endswith("_mended"))
    }


def counts() -> Counter[str]:
    total: Counter[str] = Counter()
    for finding in [*findings(), *over_budget(waits(), BUDGET)]:
        total[finding.kind] += finding.count
    return total


def main() -> None:
    gc.freeze()  # torch itself is not looked through after each program
    found = {}
    for name, program in programs(Path(sys.argv[1])).items():
        before = counts()
        program()
        gc.collect()
        for device in range(torch.cuda.device_count()):
            torch.cuda.synchronize(device)
        found[name] = dict(counts() - before)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
