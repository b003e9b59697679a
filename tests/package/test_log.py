"""The migration log: who asked for which device, what it got, and what differs from a GPU; once for each place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunPython
from torchdevice import _C

PROGRAM = """\
import subprocess, torch, torchdevice
def main():
    x = torch.ones(2, 3).cuda()
    for _ in range(3):
        y = torch.ones(2, device="cuda:0")
    torch.cuda.is_available(), torch.cuda.device_count()
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    with torchdevice.redirect():
        torch.zeros(2)
        torch.device("cpu")
        torch.nn.Linear(2, 2)
        torch.nn.Linear(2, 2, device="cuda").to("cpu")
    with torchdevice.cpu_override():
        x.to("cuda")
    try:
        subprocess.run(["nvidia-smi", "-L"])
    except FileNotFoundError:
        pass
    x.to("cpu")
main()
"""
OVER = f"over {_C.native_backend_name()}"
SMI = "it is not there, as on a machine without NVIDIA's driver"
#: Line, what was called, and the message.
TOLD = [
    (3, "Tensor.cuda", f'"cuda" → cuda {OVER}'),
    (5, "torch.ones", f'"cuda:0" → cuda:0 {OVER}'),
    (6, "torch.cuda.is_available", "answered True"),
    (6, "torch.cuda.device_count", "answered 1"),
    (7, "torch.backends.cudnn.benchmark", "True has no effect: there is no cuDNN that could try its kernels"),
    (8, "torch.backends.cuda.matmul.allow_tf32", "True has no effect: products of float32 are exact here"),
    (9, "torch.set_float32_matmul_precision", "'high' has no effect: products of float32 are exact here"),
    (13, "torch.zeros", f"no device → cuda {OVER} (redirect policy)"),
    (14, "torch.device", f'"cpu" → cuda {OVER} (redirect policy)'),
    (15, "torch.empty", f"no device → cuda {OVER} (redirect policy)"),
    (16, "torch.empty", f'"cuda" → cuda {OVER}'),
    (16, "Module.to", f'"cpu" → cuda {OVER} (redirect policy)'),
    (18, "Tensor.to", '"cuda" → cpu (CPU override)'),
    (20, "nvidia-smi", SMI),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def run(program: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the program writes to standard error; over the simulated MPS, without the fallbacks at its end."""

    def run(**environment: str) -> list[str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        command = [sys.executable, str(program)]
        process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return [line for line in process.stderr.splitlines() if "fell back" not in line]

    return run


def test_text(run: Any, program: Path) -> None:
    assert run(TORCHDEVICE_LOG_LEVEL="info") == [
        f"INFO torchdevice: {program}:{line} in main: {called}: {message}" for line, called, message in TOLD
    ]


def test_classic(run: Any, program: Path) -> None:
    """The predecessor's line."""
    assert run(TORCHDEVICE_LOG_LEVEL="INFO", TORCHDEVICE_LOG_FORMAT="classic") == [
        f'GPU REDIRECT - [program.py] "main" in File: {program}:{line} - Called: {called} {message}'
        for line, called, message in TOLD
    ]


def test_json_in_a_file(run: Any, program: Path, tmp_path: Path) -> None:
    file = tmp_path / "log"
    environment = {"TORCHDEVICE_LOG_LEVEL": "INFO", "TORCHDEVICE_LOG_FORMAT": "json", "TORCHDEVICE_LOG": str(file)}
    assert run(**environment) == []
    records = [json.loads(line) for line in file.read_text().splitlines()]
    records = [record for record in records if record["kind"] != "fallback"]
    assert [(one["line"], one["called"], one["message"]) for one in records] == TOLD
    record = records[11]
    assert record.pop("time")
    assert record == {
        "level": "INFO",
        "program": "program.py",
        "file": str(program),
        "line": 16,
        "caller": "main",
        "message": TOLD[11][2],
        "kind": "device",
        "called": "Module.to",
        "asked": "cpu",
        "given": "cuda",
        "reason": "redirect policy",
    }


def test_debug_tells_of_shapes_stacks_and_the_cpu(run: Any, program: Path) -> None:
    lines = run(TORCHDEVICE_LOG_LEVEL="DEBUG", TORCHDEVICE_DUMP_STACK_FRAMES="2")
    assert lines[:3] == [
        f'INFO torchdevice: {program}:3 in main: Tensor.cuda: "cuda" → cuda {OVER} of [2, 3]',
        f"    {program}:3 in main",
        f"    {program}:24 in <module>",
    ]
    assert lines[-3] == f'DEBUG torchdevice: {program}:23 in main: Tensor.to: "cpu" → cpu of [2, 3]'


def test_off_means_off(run: Any, run_python: RunPython) -> None:
    assert run() == []
    code = """
        import torch, sys
        assert not {"torchdevice.reports.log", "torchdevice.policy", "torchdevice.patches.probes"} & set(sys.modules)
        assert "to" not in vars(torch.Tensor) and torch.cuda.is_available.__module__ == "torch.cuda"
        assert not hasattr(torch.cuda.is_available, "__wrapped__")
    """
    run_python(code)


def test_at_warning_nothing_is_watched(run: Any) -> None:
    assert run(TORCHDEVICE_LOG_LEVEL="WARNING", TORCHDEVICE_LOG_FORMAT="classic") == []


def test_a_program_that_has_logging_set_up_gets_the_records(run_python: RunPython) -> None:
    process = run_python(
        """
        import logging, sys, torch
        logging.basicConfig(stream=sys.stdout, format="%(filename)s:%(lineno)d %(message)s", level="INFO")
        torch.ones(2, device="cuda")
        """,
        TORCHDEVICE_LOG_LEVEL="INFO",
    )
    assert process.stdout == f'<string>:4 "cuda" → cuda {OVER}\n'
    assert "torch.ones" not in process.stderr


@pytest.mark.skipif(_C.native_backend_name() != "mps", reason="nothing falls back over the CPU")
def test_fallbacks_are_told_at_the_end(run_python: RunPython) -> None:
    code = "import torch\ntorch.linalg.eigh(torch.eye(3, device='cuda'))"
    stderr = run_python(code, TORCHDEVICE_LOG_LEVEL="INFO", TORCHDEVICE_REPORT="1").stderr
    assert "INFO torchdevice: <string>:2 in ?: aten::_linalg_eigh: fell back to the CPU once: " in stderr


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("TORCHDEVICE_LOG_LEVEL", "loud", "must be DEBUG, INFO, WARNING or ERROR, but it is 'loud'"),
        ("TORCHDEVICE_LOG_FORMAT", "xml", "must be text, json or classic, but it is 'xml'"),
        ("TORCHDEVICE_DUMP_STACK_FRAMES", "-1", "must be 0 or more frames, but it is '-1'"),
        ("TORCHDEVICE_LOG", "/dev/null/log", ": cannot write to /dev/null/log: Not a directory"),
    ],
)
def test_bad_values(run_python: RunPython, name: str, value: str, error: str) -> None:
    process = run_python("import torch; print(torch.cuda.is_available())", **{name: value})
    assert process.stdout == "False\n"
    colon = "" if error.startswith(":") else " "
    assert f"torchdevice is not active: activation failed: ValueError: {name}{colon}{error}\n" in process.stderr


def test_patches_undo_takes_it_back(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from torchdevice import patches
        assert hasattr(torch.cuda.is_available, "__wrapped__")
        patches.undo()
        assert not hasattr(torch.cuda.is_available, "__wrapped__") and "to" not in vars(torch.Tensor)
        """,
        TORCHDEVICE_LOG_LEVEL="INFO",
        TORCHDEVICE_LOG="/dev/null",
    )
