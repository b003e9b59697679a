"""A dry run's peak is the real run's, to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.fit import programs

_MEASURE = """
import json
print(json.dumps([torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), torch.cuda.memory_allocated()]))
"""

#: What the CPU's kernels allocate for themselves while they run is no GPU's, and is left out: blocks that one operator
#: both takes and gives back. What lives from one operator to the next is all there.
BEGIN = """
import torch
from torch.utils._python_dispatch import TorchDispatchMode
class Numbered(TorchDispatchMode):
    number = 0
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        Numbered.number += 1
        torch._C._cuda_setMemoryMetadata(str(Numbered.number))
        try:
            return function(*args, **(kwargs or {}))
        finally:
            torch._C._cuda_setMemoryMetadata("")
torch.cuda.memory._record_memory_history(context=None)
numbered = Numbered()
numbered.__enter__()
"""
END = """
import json
numbered.__exit__(None, None, None)
events, born, within = [], {}, set()
for position, event in enumerate(torch.cuda.memory._snapshot()["device_traces"][0]):
    if event["action"] == "alloc":
        born[event["addr"]] = (position, event["user_metadata"])
        events.append((position, position, event["size"]))
    elif event["action"] == "free_requested":
        birth, number = born.pop(event["addr"])
        if number and number == event["user_metadata"]:
            within.add(birth)
        events.append((position, birth, -event["size"]))
total, totals = 0, []
for _position, birth, size in events:
    if birth not in within:
        total += size
        totals.append(total)
print(json.dumps([max(totals), len(totals), total]))
"""


def measure(code: str, backend: str) -> list[int]:
    environment = {**os.environ, "TORCHDEVICE": "1", "TORCHDEVICE_BACKEND": backend, "TORCHDEVICE_PROFILE": "h100"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    figures: list[int] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.parametrize("name", ["gpt", "gpt-checkpointed", "gpt-inference"])
def test_allocated_and_reserved_are_the_real_runs(name: str) -> None:
    code = programs.ALL[name] + _MEASURE
    assert measure(code, "dry") == measure(code, "cpu")


@pytest.mark.parametrize("name", programs.ALL)
def test_every_block_that_outlives_its_operator_is_the_real_runs(name: str) -> None:
    code = BEGIN + programs.ALL[name] + END
    assert measure(code, "dry") == measure(code, "cpu")
