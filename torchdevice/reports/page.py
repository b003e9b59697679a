"""What a program did, as one HTML page: operators and memory over time, fallbacks, device, log. It needs no network."""

from __future__ import annotations

import html
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from torchdevice.reports import memory, recorder
from torchdevice.reports.operators import Operator, Report

#: Parts of the time, operators in the timeline, rows of a table, parts of the time of all memory's curves together.
COLUMNS, OPERATORS, ROWS, POINTS = 300, 12, 500, 1500


@dataclass(frozen=True)
class Run:
    """One run of a program."""

    program: Sequence[str]
    outcome: str  #: "exit status 0", or the error that ended it
    facts: str  #: what `torchdevice info` says
    #: Why there is no report, where there is none.
    report: Report | str
    recording: recorder.Recording


def to_html(run: Run) -> str:
    """The page's text, below 2 MB however long the program ran."""
    name = Path(run.program[0]).name if run.program else "a program"
    return render(f"{name} on torchdevice", _data(run), Path(__file__).with_name("run.html"))


def render(title: str, data: dict[str, Any], body: Path) -> str:
    """A page that needs nothing else: the body draws the data by the functions that all pages have."""
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    # A script's text ends at the first "</", whatever stands around it.
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    marks = {"@BODY@": body.read_text(encoding="utf-8"), "@TITLE@": html.escape(title), "@DATA@": text}
    for mark, value in marks.items():
        page = page.replace(mark, value)
    return page


def _data(run: Run) -> dict[str, Any]:
    recording = run.recording
    begun = recording.begun
    names, rows = recorder.shares(recording, COLUMNS, OPERATORS)
    curves = [] if recording.memory is None else memory.curves(recording.memory, POINTS, recorder.EVENTS)
    used = [] if isinstance(run.report, str) else [one for one in run.report.operators if _calls(one)]
    used.sort(key=lambda one: -(one.native.seconds + one.cpu.seconds))
    return {
        "program": " ".join(run.program),
        "facts": [
            ["outcome", run.outcome],
            ["when", datetime.fromtimestamp(begun).isoformat(" ", "seconds")],
            ["took", f"{recording.ended - begun:.1f} s"],
            ["Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"],
            *([line[:16].strip(), line[16:]] for line in run.facts.splitlines()),
        ],
        "summary": run.report if isinstance(run.report, str) else str(run.report).partition("\n")[0],
        "seconds": round(recording.ended - begun, 3),
        "timeline": [[name, [round(value, 3) for value in row]] for name, row in zip(names, rows, strict=True)],
        "memory": [
            {
                "device": f"cuda:{curve.device}",
                "points": [[round(when - begun, 3), *sizes] for when, *sizes in curve.points],
                "peak": curve.peak,
                "sites": curve.at_peak.most_common(20),
                "is_cut": curve.is_cut,
            }
            for curve in curves
        ],
        "fallbacks": [
            [one.name, one.cpu.calls, one.cpu.bytes, one.cpu.seconds, one.cpu.call_site or "", one.reason or ""]
            for one in used
            if one.cpu.calls
        ],
        "operators": [
            [one.name, _calls(one), one.native.bytes + one.cpu.bytes, one.native.seconds + one.cpu.seconds, _site(one)]
            for one in used[:ROWS]
        ],
        "log": [[line.level, line.place, line.called, line.message] for line in recording.log],
        "dropped": recording.dropped,
    }


def _calls(operator: Operator) -> int:
    return operator.native.calls + operator.cpu.calls


def _site(operator: Operator) -> str:
    return operator.native.call_site or operator.cpu.call_site or ""
