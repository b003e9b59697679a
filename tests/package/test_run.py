"""`torchdevice run`: the program as without it, the report, and the budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from tests.docs.fields import assert_documented
from torchdevice import _C

over_mps = pytest.mark.skipif(_C.native_backend_name() != "mps", reason="nothing falls back over the CPU")

PROGRAM = """\
import sys
import torch
print(__name__, sys.argv, sys.path[0])
torch.linalg.eigh(torch.eye(3, device="cuda"))
"""


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "torchdevice", "run", *arguments],
        env={**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_a_script_runs_as_it_does_alone(program: Path) -> None:
    process = run(str(program), "--report", "-x")
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"__main__ {[str(program), '--report', '-x']} {program.parent}\n"
    assert process.stderr == ""


def test_a_module(program: Path) -> None:
    process = run("-m", "program", "--json", "x", folder=program.parent)
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"__main__ {[str(program), '--json', 'x']} {program.parent}\n"


def test_report(program: Path, tmp_path: Path) -> None:
    data = tmp_path / "report.json"
    process = run("--report", "--json", str(data), str(program))
    assert process.returncode == 0, process.stderr
    lines = process.stderr.splitlines()
    assert lines[0].startswith("torchdevice over ")
    (eigh,) = (line for line in lines if line.startswith("aten::_linalg_eigh"))
    assert f"{program}:4" in eigh
    report = json.loads(data.read_text())
    assert_documented("run", report)
    assert report["backend"] == _C.native_backend_name()
    assert "aten::_linalg_eigh" in {operator["name"] for operator in report["operators"]}


def test_the_file_is_where_it_was_asked_for_whatever_folder_the_program_is_in(program: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    program.write_text(PROGRAM + "import os; os.chdir('elsewhere')")
    process = run("--json", "report.json", "program.py", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "report.json").read_text())["operators"]


@pytest.mark.parametrize(("ending", "status"), [("sys.exit(5)", 5), ("sys.exit('no')", 1), ("sys.exit()", 0)])
def test_the_programs_own_exit_status(program: Path, ending: str, status: int) -> None:
    program.write_text(PROGRAM + ending)
    process = run("--report", str(program))
    assert process.returncode == status
    assert "torchdevice over " in process.stderr


def test_an_error_comes_after_the_report(program: Path) -> None:
    program.write_text(PROGRAM + "raise KeyError('lost')")
    process = run("--report", str(program))
    assert process.returncode == 1
    assert process.stderr.index("torchdevice over ") < process.stderr.index("KeyError: 'lost'")


def test_a_program_without_torch(program: Path) -> None:
    program.write_text("print(1)")
    process = run("--report", str(program))
    assert process.returncode == 0
    assert process.stdout == "1\n"
    assert process.stderr.startswith("torchdevice run: torchdevice is not active, so there is nothing to report: ")


def test_within_the_budget(program: Path) -> None:
    program.write_text("import torch\ntorch.ones(3, device='cuda') * 2")
    process = run("--max-fallbacks", "0", str(program))
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""


@over_mps
def test_over_the_budget(program: Path) -> None:
    process = run("--max-fallbacks", "0", str(program))
    assert process.returncode == 3
    assert process.stderr == (
        "torchdevice run: 1 calls fell back to the CPU, and --max-fallbacks allows 0: aten::_linalg_eigh\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of the arguments -m script is required"),
        (("--max-fallbacks", "x", "program.py"), "argument --max-fallbacks: must be 0 or more calls, got 'x'"),
        (("--max-fallbacks", "-3", "program.py"), "argument --max-fallbacks: must be 0 or more calls, got '-3'"),
        (("--json", "missing/x.json", "program.py"), "argument --json: cannot write to missing/x.json: no such folder"),
        (("--json", ".", "program.py"), "argument --json: cannot write to .: a folder"),
        (("--unknown", "program.py"), "unrecognized arguments: --unknown"),
    ],
)
def test_what_is_not_understood(arguments: tuple[str, ...], message: str) -> None:
    process = run(*arguments)
    assert process.returncode == 2
    assert "usage: python -m torchdevice" in process.stderr
    assert message in process.stderr
