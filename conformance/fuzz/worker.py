"""Runs rounds of one kind, seed after seed, and says which one is being run: `worker.py KIND FIRST SECONDS`.

Each line of its output is an object: `{"seed": 7}` before a round, its counts after it, or a finding.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable

#: Of host memory. What asks for more gets an error; the device has less.
ADDRESS_SPACE = 16 << 30
DEVICE_MEMORY = "512MiB"

Round = Callable[[random.Random], Counter[str]]


class Finding(AssertionError):  # noqa: N818
    """A round that went wrong; the message says what."""


def check_error(error: BaseException) -> None:
    """Any error is right that says what is wrong with the input.

    Raises:
        Finding: it blames torch, or Python.
    """
    if isinstance(error, SystemError) or "please report a bug" in str(error) or "INTERNAL ASSERT" in str(error):
        raise Finding(f"{type(error).__name__}: {error}") from error


def rounds() -> dict[str, Round]:
    """By kind."""
    from conformance.fuzz import calls, graphs, hostile

    return {"calls": calls.run, "programs": calls.run_program, "graphs": graphs.run, "hostile": hostile.run}


def limit_address_space() -> None:
    """To ADDRESS_SPACE, or to less where this process was given less."""
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        return  # its shadow of all memory takes terabytes
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = ADDRESS_SPACE if most == resource.RLIM_INFINITY else min(ADDRESS_SPACE, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def main(kind: str, first: int, seconds: float) -> None:
    def say(**what: object) -> None:
        print(json.dumps(what), file=output, flush=True)

    output = os.fdopen(os.dup(1), "w")  # what a round prints itself goes elsewhere
    os.dup2(2, 1)
    limit_address_space()
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    run = rounds()[kind]
    end = time.monotonic() + seconds
    seed = first
    while time.monotonic() < end:
        say(seed=seed)
        try:
            say(counts=run(random.Random(seed)))
        except Exception as error:
            say(finding=f"{type(error).__name__}: {error}")
        seed += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
