"""No alarm where nothing is wrong: our own tests of streams and graphs, and a training loop of every day."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunPython

ROOT = Path(__file__).resolve().parents[2]
CHECK = "all"


@pytest.mark.parametrize(
    "tests",
    [
        ["tests/runtime/test_streams.py", "tests/runtime/test_events.py", "tests/runtime/test_pinned_memory.py"],
        # These break captures, and replay on memory that they have freed, on purpose.
        [
            "tests/graph",
            "--ignore=tests/graph/test_capture_errors.py",
            "--deselect=tests/graph/test_memory.py::test_inputs_stay_alive",
        ],
    ],
    ids=["streams", "graphs"],
)
def test_our_own_tests(tests: list[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        env={**os.environ, "TORCHDEVICE_CHECK": CHECK},
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    assert "torchdevice check" not in process.stderr, process.stderr


TRAINING = """
import torch
from torch.utils.data import DataLoader, TensorDataset

model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
    torch.nn.Linear(144, 10), torch.nn.Dropout(0.1),
).cuda()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
scaler = torch.amp.GradScaler("cuda")
data = TensorDataset(torch.randn(32, 1, 8, 8), torch.randint(10, (32,)))
prefetch = torch.cuda.Stream()
for inputs, labels in DataLoader(data, batch_size=8, pin_memory=True):
    with torch.cuda.stream(prefetch):
        inputs, labels = (x.to("cuda", non_blocking=True) for x in (inputs, labels))
    torch.cuda.current_stream().wait_stream(prefetch)
    for x in (inputs, labels):
        x.record_stream(torch.cuda.current_stream())
    with torch.autocast("cuda", torch.float16):
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
"""

MODES = """
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))

x = torch.randn(4, 8, device="cuda", requires_grad=True)
side = torch.cuda.Stream()
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side), Mode():
    checkpoint(lambda x: x.sin().cos(), x, use_reentrant=False).sum().backward()
torch.cuda.current_stream().wait_stream(side)
torch.func.vmap(torch.func.grad(lambda row: row.pow(2).sum()))(x.detach()).sum()
torch.baddbmm(torch.empty(2, 3, 3, device="cuda"), *torch.randn(2, 2, 3, 3, device="cuda"), beta=0).sum()
torch.compile(lambda x: x * 2 + 1, backend="eager")(x).sum().backward()
cache = torch.empty(2, 16, 8, device="cuda")
for step in range(16):
    cache[:, step] = step
    (cache[:, : step + 1] @ torch.randn(8, 1, device="cuda")).softmax(1)
"""


@pytest.mark.parametrize("program", [TRAINING, MODES], ids=["training", "modes"])
def test_a_program(run_python: RunPython, program: str) -> None:
    assert "torchdevice check" not in run_python(program, TORCHDEVICE_CHECK=CHECK).stderr


def test_ranks_that_share_a_model() -> None:
    """DistributedDataParallel, FSDP1, FSDP2 and tensor parallelism."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.run(
        [sys.executable, *launcher, "tests/fit/ranks_program.py"],
        env={**os.environ, "TORCHDEVICE_CHECK": CHECK, "TORCHDEVICE_COUNT": "2"},
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "finding" not in process.stderr, process.stderr
