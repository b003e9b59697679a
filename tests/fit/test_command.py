"""`torchdevice fit`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.docs.fields import assert_documented
from tests.fit import programs

Done = subprocess.CompletedProcess[str]


def fit(*arguments: str | Path) -> Done:
    command = [sys.executable, "-m", "torchdevice", "fit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def write(folder: Path, code: str) -> Path:
    program = folder / "program.py"
    program.write_text(code)
    return program


def started(ready: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """A dry run, in a session of its own, that has come so far that the program made that file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "torchdevice", "fit", *map(str, arguments)],
        stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_heed_interrupts,
    )  # fmt: skip
    for _ in range(1200):
        if ready.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    return process


def _heed_interrupts() -> None:
    """A shell lets what it runs in the background ignore SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_training(tmp_path: Path) -> None:
    code = programs.GPT + "import sys; print(sys.argv[1:]); loss = model = None; torch.ones(1, device='cuda').item()\n"
    target = tmp_path / "fit.json"
    done = fit("--profile", "H100", "--json", target, write(tmp_path, code), "--batch", "3")
    assert (done.returncode, done.stdout) == (0, "['--batch', '3']\n"), done.stderr
    data: dict[str, Any] = json.loads(target.read_text())
    (device,) = data["devices"]
    assert (data["fits"], data["ending"], device["allocated"], device["reserved"]) == (
        True,
        "ended",
        31534080,
        50331648,
    )
    assert_documented("fit", data)
    assert sum(device["kinds"].values()) == device["allocated"]
    assert device["kinds"]["optimizer state"] == pytest.approx(2 * device["kinds"]["parameters"], rel=0.02)
    assert sum(device["modules"].values()) == device["kinds"]["activations"]
    assert max(device["modules"], key=device["modules"].get) == "GPT.layers.*.mlp.*"
    assert [read["count"] for read in data["host_reads"]] == [1]
    step = device["time"]["step"]
    # 6 operations for each weight of a product and token, and attention.
    assert 6e-12 * 0.7e6 * 8 * 63 < step["flops"] * 1e-12 < 6e-12 * 1e6 * 8 * 63
    assert step["lower"] < step["upper"] < device["time"]["run"]["upper"]
    assert "cuda:0: peak 30.1 MiB allocated (31534080 bytes)" in done.stderr
    assert "program.py" in device["stack"][0]
    assert "fits: 48.0 MiB reserved" in done.stderr


def test_what_does_not_fit(tmp_path: Path) -> None:
    code = "import torch\na = [torch.empty(30 << 30, dtype=torch.uint8, device='cuda') for _ in range(3)]\n"
    target = tmp_path / "fit.json"
    done = fit("--profile", "h100", "--json", target, write(tmp_path, code))
    data = json.loads(target.read_text())
    assert (done.returncode, data["fits"], data["ending"]) == (1, False, "out of memory")
    assert data["devices"][0]["allocated"] == 60 << 30
    assert "The program ran out of the device's memory; all figures are of what came before." in done.stderr
    done = fit("--profile", "h100", "--memory", "1TiB", tmp_path / "program.py")
    assert (done.returncode, "DOES NOT FIT: 90.00 GiB reserved" in done.stderr) == (4, True)
    assert "it fits: h200" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "h10", __file__], "torchdevice fit: no profile 'h10'; did you mean h100? there are v100, t4, "),
        (["--profile", "h100", "nowhere.py"], "torchdevice fit: no file 'nowhere.py'\n"),
        (["--profile", "h100", "-m", "no_such_module"], "torchdevice fit: no module 'no_such_module'\n"),
        (["--profile", "h100", "--json", "no/such.json", __file__], "cannot write to no/such.json: no such folder"),
        (["--profile", "h100", "--json", ".", __file__], "argument --json: cannot write to .: a folder"),
        (["--profile", "h100", "--devices", "65", __file__], "argument --devices: must be 1 to 64, got '65'"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    done = fit(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_dry_run_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDEVICE_CHECK", "all")
    done = fit("--profile", "h100", write(tmp_path, "print('ran')"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("torchdevice fit: TORCHDEVICE_CHECK is set: a dry run computes nothing")


def test_the_programs_status_is_kept(tmp_path: Path) -> None:
    done = fit("--profile", "t4", write(tmp_path, "import sys\nsys.exit(7)\n"))
    assert done.returncode == 7
    assert "No memory of a device was used." in done.stderr


def test_an_interrupted_run_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, time, torch
a = torch.ones(1 << 20, device="cuda")
pathlib.Path({str(ready)!r}).touch()
time.sleep(120)
"""
    process = started(ready, "--profile", "t4", write(tmp_path, code))
    os.killpg(process.pid, signal.SIGINT)
    _out, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "The program was interrupted; all figures are of what came before." in error
    assert "peak 4.0 MiB allocated (4194304 bytes)" in error


def test_an_lstm_keeps_what_its_cells_need(tmp_path: Path) -> None:
    """oneDNN's kernel of a whole layer would hide it."""
    code = programs.GRU.replace("nn.GRU", "nn.LSTM")
    target = tmp_path / "fit.json"
    assert fit("--profile", "h100", "--json", target, write(tmp_path, code)).returncode == 0
    with_cells = json.loads(target.read_text())["devices"][0]["allocated"]
    assert fit("--profile", "h100", "--json", target, write(tmp_path, programs.LSTM)).returncode == 0
    assert with_cells == json.loads(target.read_text())["devices"][0]["allocated"] > 8 << 20
