"""`torchdevice scan` as people and CI call it: the table, JSON, SARIF, exit statuses, and what is wrong with a call."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import torchdevice
from tests.conftest import RunPython
from tests.docs.fields import assert_documented
from torchdevice.scan.rules import RULES, Verdict

PROGRAM = """\
import torch
from flash_attn import flash_attn_func

try:
    import cupy
except ImportError:
    cupy = None
print(torch.cuda.get_device_name())
x = torch.ones(1, device="cuda", dtype=torch.double)
"""

TABLE = """\
train.py:2  cannot work            flash-attn    import flash_attn.flash_attn_func
train.py:9  works on the CPU only  float64       torch.double
train.py:5  works differently      cupy          import cupy [guarded: try … except ImportError, line 4]
train.py:8  works differently      device-facts  torch.cuda.get_device_name
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(PROGRAM)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchdevice", "scan", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_table_says_what_and_what_to_do(folder: Path) -> None:
    process = run(folder, "train.py")
    assert (process.returncode, process.stderr) == (1, "")
    table, advice, summary = process.stdout.split("\n\n")
    assert f"{table}\n" == TABLE
    assert advice.splitlines()[:2] == [
        "flash-attn: flash-attn is compiled CUDA code.",
        '    Use torch.nn.functional.scaled_dot_product_attention; in transformers attn_implementation="sdpa".',
    ]
    assert [line.partition(":")[0] for line in advice.splitlines()[::2]] == [
        "flash-attn", "float64", "cupy", "device-facts",
    ]  # fmt: skip
    assert summary == "1 file read: 1 cannot work, 1 works on the CPU only, 2 works differently, 1 works.\n"


def test_all_shows_what_works(folder: Path) -> None:
    last = run(folder, ".", "--all").stdout.split("\n\n")[0].splitlines()[-1]
    assert last.split() == ["train.py:8", "works", "cuda", "torch.cuda.get_device_name"]


def test_the_exit_status(folder: Path) -> None:
    (folder / "train.py").write_text("import torch\nx = torch.ones(1).cuda(1)")
    assert run(folder, ".").returncode == 0
    (folder / "train.py").write_text("1 +")
    process = run(folder, ".")
    assert process.returncode == 2
    assert (
        process.stdout
        == "train.py: not read: no Python 3: invalid syntax, line 1\n0 files read: nothing of a GPU found.\n"
    )
    (folder / "other.py").write_text("")
    assert run(folder, ".").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["no_such.py"], "torchdevice scan: no_such.py: no such file or folder\n"),
        (["pytset"], "did you mean pytest?\n"),
        (["empty"], "empty: nothing in this folder can be read: no Python, notebook, requirements or C++\n"),
        ([], "the following arguments are required: PATH|PACKAGE\n"),
        ([".", "--sarif", "no/such.sarif"], "argument --sarif: cannot write to no/such.sarif: no such folder\n"),
        ([".", "--jason"], "unrecognized arguments: --jason\n"),
    ],
)
def test_calls_that_are_wrong(folder: Path, arguments: list[str], error: str) -> None:
    (folder / "empty").mkdir()
    process = run(folder, *arguments)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.endswith(error)


def test_help_has_examples(folder: Path) -> None:
    process = run(folder, "--help")
    assert process.returncode == 0
    assert "  torchdevice scan train.py\n  torchdevice scan . --sarif scan.sarif\n" in process.stdout
    assert "exit status: 0 nothing that cannot work, 1 something that cannot, 2 nothing to scan\n" in process.stdout


def test_json(folder: Path) -> None:
    (folder / "b.py").write_bytes(b"\xff")
    process = run(folder, ".", "--json")
    assert process.returncode == 1
    report = json.loads(process.stdout)
    assert_documented("scan", report)
    assert {name: value for name, value in report.items() if name not in ("findings", "unread")} == {
        "target": ".",
        "files": 1,
        "counts": {"cannot work": 1, "works on the CPU only": 1, "works differently": 2, "works": 1},
    }
    assert [one["path"] for one in report["unread"]] == ["b.py"]
    assert report["unread"][0]["reason"].startswith("cannot be decoded: ")
    assert report["findings"][1] == {
        "rule": "cupy",
        "verdict": "works differently",
        "path": "train.py",
        "line": 5,
        "column": 5,
        "cell": None,
        "what": "import cupy",
        "guard": "try … except ImportError, line 4",
        "title": "CuPy asks NVIDIA's driver for its device",
        "advice": "Use NumPy, or torch operators.",
    }


# ---------------------------------------------------------------- SARIF


def sarif(folder: Path, *arguments: str) -> Any:
    """The log, which the schema of OASIS accepts."""
    process = run(folder, *arguments, "--sarif", "scan.sarif")
    assert process.returncode in (0, 1), process.stderr
    log = json.loads((folder / "scan.sarif").read_text())
    schema = json.loads(Path(__file__).with_name("sarif-schema-2.1.0.json").read_text())
    jsonschema.Draft4Validator.check_schema(schema)
    jsonschema.Draft4Validator(schema).validate(log)
    assert log["$schema"] == schema["id"]
    return log


def test_sarif(folder: Path) -> None:
    (folder / "a b#ü.ipynb").write_text("{")
    log = sarif(folder, ".")
    (one,) = log["runs"]
    driver = one["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("torchdevice scan", torchdevice.__version__)
    assert [rule["id"] for rule in driver["rules"]] == [
        rule.id for rule in RULES.values() if rule.verdict is not Verdict.WORKS
    ]
    places = [
        (
            result["ruleId"],
            result["level"],
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            result["locations"][0]["physicalLocation"]["region"],
        )
        for result in one["results"]
    ]
    assert places == [
        ("flash-attn", "error", "train.py", {"startLine": 2, "startColumn": 1}),
        ("cupy", "note", "train.py", {"startLine": 5, "startColumn": 5}),
        ("device-facts", "note", "train.py", {"startLine": 8, "startColumn": 7}),
        ("float64", "note", "train.py", {"startLine": 9, "startColumn": 40}),
    ]
    for result in one["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert one["results"][1]["message"]["text"] == (
        "works differently: import cupy: CuPy asks NVIDIA's driver for its device. "
        "It is guarded: try … except ImportError, line 4. Use NumPy, or torch operators."
    )
    (notice,) = one["invocations"][0]["toolExecutionNotifications"]
    assert notice["message"]["text"].startswith("not read: no notebook: ")
    assert notice["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b%23%C3%BC.ipynb"


def test_sarif_of_a_package_and_of_nothing(folder: Path) -> None:
    (folder / "train.py").write_text("")
    assert sarif(folder, ".")["runs"][0]["results"] == []
    results = sarif(folder, "torchdevice")["runs"][0]["results"]
    assert results
    assert all(
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("file:///") for one in results
    )


# ---------------------------------------------------------------- what it loads


def test_a_scan_needs_no_torch(run_python: RunPython, folder: Path) -> None:
    run_python(
        f"""
        import sys
        from torchdevice.cli import main
        sys.argv = ["torchdevice", "scan", {str(folder)!r}]
        assert main() == 1
        assert not {{"torch", "flash_attn", "cupy", "train"}} & set(sys.modules)
        """
    )


def test_nothing_else_loads_it(run_python: RunPython) -> None:
    run_python(
        """
        import sys, torch, torchdevice.cli
        assert not [name for name in sys.modules if name.startswith("torchdevice.scan")]
        """
    )
