"""`torchdevice run --html`: what is recorded while a program runs, and the page that tells it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from torchdevice import _C
from torchdevice.reports import memory, page, recorder
from torchdevice.reports.operators import Operator, Report, Tally

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """\
import os, sys
os.environ["TORCHDEVICE_COUNT"] = "2"  # the program imports torch, and before that chooses its devices
import torch
print(torch.cuda.get_device_name() is not None, "TORCHDEVICE_LOG" in os.environ)
kept = [torch.ones(2**18, device="cuda:1") for _ in range(3)]
(torch.randn(300, 300, device="cuda") @ torch.randn(300, 300, device="cuda")).sum().item()
del kept[1:]
if len(sys.argv) > 1: raise SystemExit(int(sys.argv[1]))
"""


def run(program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    search = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    return subprocess.run(
        [sys.executable, "-m", "torchdevice", "run", "--html", "page.html", str(program), *arguments],
        env={**os.environ, "PYTHONPATH": search, **environment},
        cwd=program.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_what_a_program_did(program: Path) -> None:
    process = run(program)
    assert (process.returncode, process.stdout, process.stderr) == (0, "True True\n", "")
    data = data_of((program.parent / "page.html").read_text())
    facts = {name: value for name, value in data["facts"] if name}
    assert data["program"] == str(program)
    assert facts["outcome"] == "exit status 0"
    assert facts["devices"] == "2"
    assert {"aten::mm", "aten::sum"} <= {name for name, *_ in data["operators"]}
    assert "aten::mm" in [name for name, _ in data["timeline"]]
    if _C.native_backend_name() == "mps":
        assert data["memory"] == []  # PyTorch's MPS allocator has no history
    else:
        first, second = data["memory"]
        assert (first["device"], second["device"]) == ("cuda:0", "cuda:1")
        assert second["peak"] == 3 * 2**20
        assert second["sites"] == [[f"{program}:5", 3 * 2**20]]
        assert second["points"][-1][1] == 2**20
        assert not second["is_cut"]
    probes = [place for _, place, called, _ in data["log"] if called == "torch.cuda.get_device_name"]
    assert probes == [f"{program}:4"]
    assert data["dropped"] == 0


def test_its_exit_status_is_the_programs(program: Path) -> None:
    assert run(program, "5").returncode == 5
    data = data_of((program.parent / "page.html").read_text())
    assert ["outcome", "exit status 5"] in data["facts"]


def test_an_error_of_the_program_is_told(program: Path) -> None:
    program.write_text("import torch\ntorch.ones(2, device='cuda') + torch.ones(3, device='cuda')")
    process = run(program)
    assert process.returncode == 1
    assert "Traceback" in process.stderr
    facts = dict(data_of((program.parent / "page.html").read_text())["facts"])
    assert facts["outcome"].startswith("RuntimeError: The size of tensor a (2) must match the size of tensor b (3)")


def test_a_program_without_torch(program: Path) -> None:
    program.write_text("print(1)")
    process = run(program)
    assert (process.returncode, process.stdout) == (0, "1\n")
    data = data_of((program.parent / "page.html").read_text())
    assert data["summary"].startswith("torchdevice is not active, so there is nothing to report: torch has not been ")
    assert (data["memory"], data["timeline"], data["operators"]) == ([], [], [])


def test_the_log_goes_where_the_program_was_told(program: Path) -> None:
    process = run(program, TORCHDEVICE_LOG_LEVEL="ERROR")
    assert process.stdout == "True False\n"
    assert data_of((program.parent / "page.html").read_text())["log"] == []


def test_a_page_that_cannot_be_written(program: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "torchdevice", "run", "--html", "nowhere/page.html", str(program)],
        cwd=program.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert "argument --html: cannot write to nowhere/page.html: no such folder" in process.stderr


def event(action: str, address: int, size: int, when: int, line: int = 1) -> dict[str, Any]:
    frames = [
        {"filename": "/lib/torch/nn/functional.py", "line": 7, "name": "linear"},
        {"filename": "train.py", "line": line, "name": "step"},
    ]
    return {"action": action, "addr": address, "size": size, "time_us": when * 1_000_000, "frames": frames}


def snapshot(*traces: list[dict[str, Any]], allocated: int = 0, reserved: int = 0) -> dict[str, Any]:
    segments = [{"device": 0, "allocated_size": allocated, "total_size": reserved}]
    return {"device_traces": list(traces), "segments": segments}


def test_the_curve_of_memory() -> None:
    events = [
        event("segment_alloc", 1, 100, 0),
        event("alloc", 1, 30, 1, line=5),
        event("alloc", 2, 40, 2, line=6),
        event("free_requested", 1, 30, 3),
        event("free_completed", 1, 30, 3),
        event("alloc", 3, 20, 4, line=7),
    ]
    # 10 bytes more than the history tells of were there before it began.
    (curve,) = memory.curves(snapshot(events, [], allocated=70, reserved=100), 100, limit=1000)
    assert curve.device == 0
    assert curve.points == [(0, 10, 100), (1, 40, 100), (2, 80, 100), (3, 80, 100), (3, 50, 100), (4, 70, 100)]
    assert curve.peak == 80
    assert curve.at_peak == {"train.py:5": 30, "train.py:6": 40}
    assert not curve.is_cut


def test_a_long_history_keeps_its_peaks() -> None:
    events = [event("alloc" if i % 2 == 0 else "free_completed", 1, 10, i) for i in range(1000)]
    events.append(event("alloc", 0, 1000, 1000))
    (curve,) = memory.curves(snapshot(events, allocated=1000), 50, limit=1001)
    assert len(curve.points) <= 100
    assert max(allocated for _, allocated, _ in curve.points) == curve.peak == 1000
    assert curve.is_cut


def test_operators_over_time() -> None:
    def sample(seconds: float, **spent: int) -> recorder.Sample:
        return recorder.Sample(seconds, {name: milliseconds * 1_000_000 for name, milliseconds in spent.items()})

    recording = recorder.Recording(begun=0.0, ended=4.0)
    recording.samples = [sample(0.5, mm=10), sample(2.5, mm=30, add=4), sample(3.5, mm=30, add=4, mul=1)]
    names, rows = recorder.shares(recording, columns=4, most=1)
    assert names == ["mm", "others"]
    assert rows[0] == pytest.approx([10 + 20 / 3, 20 / 3, 20 / 3, 0])
    assert rows[1] == pytest.approx([4 / 3, 4 / 3, 4 / 3 + 0.5, 0.5])
    assert recorder.shares(recorder.Recording(), 4, 1) == ([], [])


class Structure(HTMLParser):
    """Tags that are open, and what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def long_run() -> page.Run:
    """One that filled everything that is bounded."""
    place = f"/home/somebody/{'folder/' * 12}train.py:123"
    tally = Tally(10**9, 10**12, 1234.5678, place)
    operators = tuple(Operator(f"aten::an_operator_{i}.Tensor", tally, tally, "why " * 20) for i in range(800))
    events = [event("alloc", i, 512 + i, i, line=i) for i in range(3000)]
    taken = sum(one["size"] for one in events)
    devices = range(64)
    recording = recorder.Recording(begun=0.0, ended=3000.0)
    recording.memory = {
        "device_traces": [events for _ in devices],
        "segments": [{"device": i, "allocated_size": taken, "total_size": taken} for i in devices],
    }
    recording.samples = [
        recorder.Sample(i * 4.0, {one.name: i * (number + 1) * 10**6 for number, one in enumerate(operators)})
        for i in range(1, 750)
    ]
    recording.log = [recorder.Line("INFO", place, "torch.cuda.is_available", "</script>" * 33)] * recorder.LINES
    recording.dropped = 12
    report = Report("mps", True, operators, 1, 1, 1.0, 1)
    return page.Run(["train.py", "<b>"], "exit status 0", "torchdevice     active: yes", report, recording)


def test_a_page_stays_small_and_needs_nothing_else() -> None:
    text = page.to_html(long_run())
    assert len(text.encode()) < 2_000_000
    structure = Structure()
    structure.feed(text)
    assert structure.open == []
    assert structure.loads == []
    assert '<meta name="viewport" content="width=device-width">' in text
    data = data_of(text)
    assert len(data["fallbacks"]) == 800
    assert len(data["log"]) == recorder.LINES
    assert len(data["timeline"]) == page.OPERATORS + 1
