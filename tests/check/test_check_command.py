"""`torchdevice check`: what it says, its files and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from tests.conftest import RunPython
from tests.docs.fields import assert_documented
from torchdevice import _C

RACE = """\
import sys
import torch

x = torch.ones(10, device="cuda")
torch.cuda.synchronize()
side = torch.cuda.Stream()


def double():
    with torch.cuda.stream(side):
        x.mul_(2)


for _ in range(2):
    double()
    x.add_(1)
    torch.cuda.synchronize()
print(sys.argv[1:])
"""
RACE_TEXT = """\
torchdevice check: 1 finding

races: aten::add_.Tensor writes self on the default stream of cuda:0 while aten::mul_.Tensor on side stream 1 of \
cuda:0, which writes the same memory (self), may still be running. Nothing orders the two: no event, no wait, no \
synchronization.
  aten::mul_.Tensor (self) on side stream 1 of cuda:0
    program.py:11 in double
    program.py:15 in <module>
  aten::add_.Tensor (self) on the default stream of cuda:0
    program.py:16 in <module>
  To mend it: Let the later stream wait for the earlier one before this line: later.wait_stream(earlier), or \
earlier.record_event() where its work ends and later.wait_event(event) here. Seen 2 times.
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "program.py"
    path.write_text(RACE)
    return path


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "torchdevice", "check", *arguments],
        env={**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_race(program: Path) -> None:
    process = check("program.py", "--steps", "3")
    assert process.stdout == "['--steps', '3']\n"
    assert process.stderr == RACE_TEXT
    assert process.returncode == 4


def test_a_module(program: Path) -> None:
    process = check("--only", "races", "-m", "program", "--json", "x")
    assert (process.returncode, process.stdout) == (4, "['--json', 'x']\n")


def test_another_checker_finds_nothing(program: Path) -> None:
    process = check("--only", "sync", "program.py")
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.skipif(_C.native_backend_name() != "mps", reason="the CPU's memory is that of CUDA's caching allocator")
@pytest.mark.parametrize("name", ["lifetime", "uninitialized", "late"])
def test_what_follows_blocks_is_refused_over_mps(program: Path, name: str) -> None:
    process = check("--only", f"races,{name}", "program.py")
    assert process.returncode == 2
    assert (
        f"TORCHDEVICE_CHECK={name} needs the blocks of CUDA's caching allocator, and {_C.native_backend_title()} has "
        "one of its own; leave it out, or set TORCHDEVICE_BACKEND=cpu"
    ) in process.stderr


def test_data(program: Path, tmp_path: Path) -> None:
    check("--json", "found.json", "program.py")
    found = json.loads((tmp_path / "found.json").read_text())
    assert_documented("check", found)
    (finding,) = found["findings"]
    assert (finding["kind"], finding["count"]) == ("races", 2)
    assert [place["argument"] for place in finding["places"]] == ["self", "self"]
    assert finding["places"][1]["stack"][0] == {"file": str(program), "line": 16, "function": "<module>"}


@pytest.mark.parametrize("line", ["races aten::mul_*  # as fast", "* */program.py:double  # we know"])
def test_a_suppression(program: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "known.txt").write_text(f"# Known.\n\n{line}\n")
    process = check("--suppressions", "known.txt", "program.py")
    assert (process.returncode, process.stderr) == (0, "")


def test_a_suppression_that_nothing_needs(program: Path, tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("lifetime aten::mul_*  # it was so once\n")
    process = check("--suppressions", "known.txt", "program.py")
    assert process.returncode == 4
    idle = "torchdevice check: nothing needed the suppression lifetime aten::mul_*  # it was so once\n"
    assert process.stderr == idle + RACE_TEXT


def test_a_suppression_without_a_reason(program: Path, tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("races aten::mul_*\n")
    process = check("--suppressions", "known.txt", "program.py")
    assert process.returncode == 2
    assert process.stderr.endswith(
        "argument --suppressions: known.txt:1: must be KIND PATTERN  # why, but is 'races aten::mul_*'\n"
    )


def test_a_program_that_fails_keeps_its_status(program: Path) -> None:
    program.write_text(RACE + "sys.exit(7)\n")
    process = check("program.py")
    assert (process.returncode, process.stderr) == (7, RACE_TEXT)


def test_a_program_that_raises(program: Path) -> None:
    program.write_text(RACE + "raise KeyError('lost')\n")
    process = check("program.py")
    assert process.returncode == 1
    assert process.stderr.startswith(RACE_TEXT)
    assert process.stderr.endswith("KeyError: 'lost'\n")


WAITS = """\
import torch

for step in range(3):
    torch.ones(4, device="cuda").sum().item()
torch.cuda.synchronize()
"""
WAITS_TABLE = """\
The host waited for the device 3 times, at 1 lines:
  3 times, for 9 operators: aten::_local_scalar_dense
    program.py:4 in <module>
"""


def test_waits_are_told(program: Path) -> None:
    program.write_text(WAITS)
    process = check("program.py")
    assert (process.returncode, process.stderr) == (0, WAITS_TABLE)


def test_waits_over_budget(program: Path) -> None:
    program.write_text(WAITS)
    assert check("--max-waits", "3", "program.py").returncode == 0
    assert (
        "argument --max-waits: must be 0 or more calls, got '-1'\n" in check("--max-waits", "-1", "program.py").stderr
    )
    process = check("--max-waits", "2", "program.py")
    assert process.returncode == 4
    assert process.stderr == (
        "torchdevice check: 1 finding\n\n"
        "sync: aten::_local_scalar_dense made the host wait for the device 3 times at this line, and 2 are allowed. "
        "Each time a GPU finishes what is queued and then idles until the host is back.\n"
        "  aten::_local_scalar_dense\n"
        "    program.py:4 in <module>\n"
        "  To mend it: Keep the value on the device, read it once for many steps, or copy it with non_blocking=True "
        "and wait for an event later. Seen 3 times.\n" + WAITS_TABLE
    )


def test_a_checker_that_does_not_exist(program: Path) -> None:
    process = check("--only", "race", "program.py")
    assert process.returncode == 2
    assert (
        "TORCHDEVICE_CHECK must be all, or some of races,lifetime,sync,uninitialized,graph,late,asserts, but 'race' is "
        "none of them"
    ) in process.stderr


def test_switched_off(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDEVICE", "0")
    process = check("program.py")
    assert process.returncode == 2
    assert process.stderr == "torchdevice check: torchdevice is not active: switched off by TORCHDEVICE=0\n"


def test_the_setting_alone(program: Path) -> None:
    process = subprocess.run(
        [sys.executable, "program.py"],
        env={**os.environ, "TORCHDEVICE_CHECK": "races"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (0, RACE_TEXT)


def test_off_nothing_is_observed(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from torchdevice import _C
        torch.ones(3, device="cuda").sum().item()
        assert not _C.is_checking()
        assert _C.check_findings() == _C.check_waits() == []
        """,
        TORCHDEVICE_CHECK="",
    )
