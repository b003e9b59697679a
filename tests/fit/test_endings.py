"""However a program ends, `torchdevice fit` reports what came before."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fit.test_command import fit, started, write
from torchdevice.fit import observed
from torchdevice.fit.kinds import PARAMETERS, Mark, Marks
from torchdevice.fit.record import Peak

_KEEP = "import os, sys, threading, torch\nkept = []\n"
_FILL = "kept.append(torch.empty(30 << 30, dtype=torch.uint8, device='cuda'))\n"
_FILL_IT = _KEEP + f"while True: {_FILL}"
_CATCH_IT = _KEEP + f"try:\n    while True: {_FILL}except torch.OutOfMemoryError: pass\n"
_WORKER = """
import torch
class Data(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, i): return torch.empty(1 << 40, dtype=torch.uint8, device="cuda")
if __name__ == "__main__":
    kept = torch.empty(60 << 30, dtype=torch.uint8, device="cuda")
    list(torch.utils.data.DataLoader(Data(), num_workers=1, multiprocessing_context="spawn"))
"""
_BACKWARD = """
import torch
with torch.device("cuda"):
    model = torch.nn.Sequential(*(torch.nn.Linear(32768, 32768, bias=False) for _ in range(15)))
    model(torch.randn(1, 32768)).sum().backward()
"""
_RAN_OUT = "The program ran out of the device's memory; all figures are of what came before."
_WENT_ON = "It was refused memory of the device, and went on, 1 x; all figures are of what it got."
_FAILED = "The program failed; all figures are of what came before."


@pytest.mark.parametrize(
    ("code", "status", "told", "allocated"),
    [
        pytest.param(_FILL_IT, 1, _RAN_OUT, 60 << 30, id="uncaught"),
        pytest.param(_CATCH_IT, 4, _WENT_ON, 60 << 30, id="caught"),
        pytest.param(_CATCH_IT + "sys.exit(5)", 5, _WENT_ON, 60 << 30, id="caught and failed"),
        pytest.param(_CATCH_IT + "os._exit(3)", 3, _FAILED, 60 << 30, id="left by os._exit"),
        pytest.param(_CATCH_IT + "os._exit(0)", 4, _WENT_ON, 60 << 30, id="left well by os._exit"),
        pytest.param(_KEEP + "torch.empty(1 << 40, device='cuda')", 1, _RAN_OUT, None, id="the first allocation"),
        pytest.param(
            _KEEP + _FILL + "torch.empty(1 << 62, dtype=torch.uint8, device='cuda')",
            1, _RAN_OUT, 30 << 30, id="more than there are addresses",
        ),
        pytest.param(
            _KEEP + f"def f():\n    while True: {_FILL}one = threading.Thread(target=f); one.start(); one.join()",
            4, _WENT_ON, 60 << 30, id="in a thread",
        ),
        pytest.param(_BACKWARD, 1, _RAN_OUT, None, id="in the backward pass"),
        pytest.param(_WORKER, 1, _RAN_OUT, 60 << 30, id="in a worker"),
    ],
)  # fmt: skip
def test_memory_that_runs_out(tmp_path: Path, code: str, status: int, told: str, allocated: int | None) -> None:
    done = fit("--profile", "h100", write(tmp_path, code))
    assert done.returncode == status, done.stderr
    assert told in done.stderr
    assert "\nDOES NOT FIT: " in done.stderr
    assert "it fits:" not in done.stderr
    assert allocated is None or f"({allocated} bytes)" in done.stderr
    assert ("No memory of a device was used." in done.stderr) == ("1 << 40, device" in code)


def test_memory_of_a_module_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, _FILL_IT)
    monkeypatch.chdir(tmp_path)
    done = fit("--profile", "h100", "-m", "program")
    assert (done.returncode, _RAN_OUT in done.stderr, "(64424509440 bytes)" in done.stderr) == (1, True, True)


def test_address_space_that_runs_out_is_no_verdict(tmp_path: Path) -> None:
    write(tmp_path, _FILL_IT)
    command = [sys.executable, "-m", "torchdevice", "fit", "--profile", "h100", str(tmp_path / "program.py")]
    limit = 16 << 30
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "NO VERDICT: it may be the process's address space that ran out (ulimit -v)" in done.stderr
    assert "needs as much as the devices have memory, and has 16.00 GiB" in done.stderr
    assert "FIT:" not in done.stderr


def test_what_the_program_forks_leaves_no_report(tmp_path: Path) -> None:
    code = _KEEP + _FILL + "if os.fork() == 0: sys.exit(5)\nos.wait()\nprint('parent')\n"
    done = fit("--profile", "h100", write(tmp_path, code))
    assert (done.returncode, done.stdout) == (0, "parent\n")
    assert done.stderr.count("torchdevice fit: h100") == 1
    assert "(32212254720 bytes)" in done.stderr


def test_a_program_that_is_killed(tmp_path: Path) -> None:
    done = fit("--profile", "h100", write(tmp_path, _KEEP + "os.kill(os.getpid(), 9)"))
    assert done.returncode == 128 + 9
    assert done.stderr == "torchdevice fit: the program left no record; it was ended by SIGKILL\n"


def test_one_that_is_terminated_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = _KEEP + _FILL + f"import pathlib, time\npathlib.Path({str(ready)!r}).touch()\ntime.sleep(120)\n"
    process = started(ready, "--profile", "h100", write(tmp_path, code))
    process.send_signal(signal.SIGTERM)
    _out, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "The program was interrupted; all figures are of what came before." in error
    assert "(32212254720 bytes)" in error
    assert "fits so far: 30.00 GiB reserved" in error


def test_memory_that_cannot_be(tmp_path: Path) -> None:
    done = fit("--profile", "h100", "--memory", "much", write(tmp_path, _KEEP))
    assert done.returncode == 1
    assert "TORCHDEVICE_MEMORY must be a size of at least 2MiB" in done.stderr
    assert "AttributeError" not in done.stderr


def _event(action: str, address: int, size: int, when: int) -> dict[str, Any]:
    return {"action": action, "addr": address, "size": size, "time_us": when, "user_metadata": "", "frames": ()}


def test_what_was_there_before_the_history_begins() -> None:
    trace = [
        _event("alloc", 3 << 20, 512, 10),
        _event("free_requested", 1 << 20, 1024, 11),
        _event("alloc", 1 << 20, 512, 12),
        _event("free_requested", 3 << 20, 512, 13),
    ]
    blocks = [(1 << 20, 512), (2 << 20, 2048), (5 << 20, 4096)]
    segment = {
        "device": 0,
        "blocks": [{"address": one, "size": size, "state": "active_allocated"} for one, size in blocks],
    }
    marks = Marks()
    marks.by_address = {(0, 2 << 20): [Mark(5, PARAMETERS)]}
    before = "from before the history that is kept"
    for allocated, rest in ((7680, {}), (9000, {"of a moment that the history no longer has": 1320})):
        peak = Peak(0, allocated)
        observed._explain(peak, {"device_traces": [trace], "segments": [segment]}, marks, curves=True)
        assert peak.kinds == {PARAMETERS: 2048, before: 4096 + 1024, "other (inputs, losses)": 512, **rest}
        assert peak.is_cut == bool(rest)
