"""`torchdevice report`: what programs and tests left in files, shown again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.fields import assert_documented
from torchdevice.reports.operators import Operator, Report, Tally
from torchdevice.reports.saved import NotAReportError, read

NONE = Tally(0, 0, 0.0, None)
RUN = Report(
    backend="mps",
    detailed=True,
    operators=(
        Operator("aten::mm", Tally(5, 80, 0.25, "train.py:3"), NONE, None),
        Operator("aten::take", NONE, Tally(2, 40, 0.5, "train.py:7"), "MPS has no kernel for it"),
    ),
    transitions=2,
    synchronizations=2,
    seconds_waited=0.125,
    copied_bytes=0,
)
TESTS: dict[str, Any] = {
    "backend": "mps",
    "devices": 2,
    "fallbacks": 5,
    "operators": {"aten::take": 4, "aten::eigh": 1},
    "tests": {
        "test_a.py::test_x": {"outcome": "passed", "fallbacks": {"aten::take": 3, "aten::eigh": 1}},
        "test_a.py::test_y": {"outcome": "failed", "fallbacks": {"aten::take": 1}},
        "test_a.py::test_z": {"outcome": "passed", "fallbacks": {}},
    },
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    run, tests = tmp_path / "run.json", tmp_path / "tests.json"
    run.write_text(RUN.to_json())
    tests.write_text(json.dumps(TESTS))
    return run, tests


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "torchdevice", "report", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_a_run_is_read_as_it_was_written(files: tuple[Path, Path]) -> None:
    assert read(files[0]).what == RUN
    process = command(files[0])
    assert (process.returncode, process.stdout) == (0, f"{RUN}\n")


def test_of_tests_it_names_operators_and_those_who_called_them(files: tuple[Path, Path]) -> None:
    assert str(read(files[1])).splitlines() == [
        "tests on 2 devices over MPS: 1 failed, 2 passed",
        "5 calls fell back to the CPU",
        "   calls  operator",
        "       4  aten::take",
        "       1  aten::eigh",
        "   calls  test",
        "       4  test_a.py::test_x",
        "       1  test_a.py::test_y",
    ]


def test_ten_tests_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tests.json"
    tests = {f"test_{number}": {"outcome": "passed", "fallbacks": {"aten::take": 1}} for number in range(12)}
    path.write_text(json.dumps(TESTS | {"operators": {"aten::take": 12}, "tests": tests}))
    assert str(read(path)).splitlines()[-2:] == ["       1  test_9", "          and 2 tests more"]


def test_data_and_a_limit_for_all_files(files: tuple[Path, Path]) -> None:
    process = command(*files, "--json", "--max-fallbacks", "6")
    assert process.returncode == 3
    assert process.stderr == "torchdevice report: 7 calls fell back to the CPU, and --max-fallbacks allows 6\n"
    data = json.loads(process.stdout)
    assert data["fallbacks"] == 7
    assert [(one["kind"], one["fallbacks"], one["operators"]) for one in data["files"]] == [
        ("run", 2, {"aten::take": 2}),
        ("tests", 5, TESTS["operators"]),
    ]
    assert_documented("report", data)
    within = command(*files, "--max-fallbacks", "7")
    assert within.returncode == 0
    assert f"{files[1]}: tests on 2 devices" in within.stdout


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"tests": []}', '{"operators": [{}]}', '{"operators": []}'])
def test_data_of_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(NotAReportError, match="is not what `torchdevice run --json` or `pytest --torchdevice-report`"):
        read(path)


def test_no_report(tmp_path: Path) -> None:
    process = command(tmp_path / "none.json")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == f"torchdevice report: cannot read {tmp_path}/none.json: No such file or directory\n"
    (tmp_path / "half.json").write_text('{"tests":')
    with pytest.raises(NotAReportError, match="half.json is no JSON"):
        read(tmp_path / "half.json")
