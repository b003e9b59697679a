"""What a dry run says as one HTML page: memory by kind, at the peak and over time, the time's parts, what was read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchdevice.fit import report, roofline
from torchdevice.fit.beside import beside
from torchdevice.fit.gpus import GPUS
from torchdevice.fit.record import Peak, Record
from torchdevice.reports.page import render

#: Rows of a table, and numbers of all curves together.
ROWS, POINTS = 100, 20_000


def to_html(record: Record, profile: str, program: Sequence[str]) -> str:
    """The page's text, below 2 MB however long the program ran."""
    name = Path(program[0]).name if program else "a program"
    return render(
        f"{name} on {profile}, a dry run", _data(record, profile, program), Path(__file__).parent / "page.html"
    )


def _data(record: Record, profile: str, program: Sequence[str]) -> dict[str, Any]:
    return {
        "program": " ".join(program),
        "summary": report.verdict(record, profile),
        "notes": list(report.notes(record)),
        "seconds": record.seconds,
        "devices": [_device(record, peak, profile) for peak in record.peaks],
        "beside": [[one.what, one.bytes, one.source] for one in beside(profile)],
        "rates": GPUS[profile].source,
        "basis": roofline.BASIS,
        "reads": [[one.what, one.where, one.count] for one in sorted(record.reads, key=lambda one: -one.count)[:ROWS]],
        "run": f"The dry run took {record.seconds:.1f} s and {report.size(record.resident)} of the host's memory.",
    }


def _device(record: Record, peak: Peak, profile: str) -> dict[str, Any]:
    step = record.steps > 0
    total = report.estimate(record, profile, peak.device, step=step)
    what = f"a step, the last of {record.steps}" if step else "the whole run"
    return {
        "name": f"cuda:{peak.device}",
        "allocated": peak.allocated,
        "reserved": peak.reserved,
        "is_cut": peak.is_cut,
        "kinds": list(peak.kinds.items()),
        "modules": list(peak.modules.items())[:ROWS],
        "stack": peak.stack[:20],
        "curve": _thinned(peak.curve, POINTS // len(record.peaks)),
        "seconds": peak.curve_seconds,
        "time": f"{report.spread(total)} for {what} ({report.amounts(total)})" if total.kernels else "",
        "parts": [["arithmetic", total.arithmetic], ["memory", total.memory], ["launches", total.launches]],
        "communication": list(report.communication(total, profile)),
        "lower": total.lower,
        "operators": [[one.name, one.calls, one.seconds, one.flops, one.bytes] for one in total.operators[:ROWS]],
    }


def _thinned(curve: dict[str, list[int]], most: int) -> list[tuple[str, list[int]]]:
    """With fewer parts of the time, where there are many curves: of some that are one now, the fullest."""
    if not curve:
        return []
    columns = list(zip(*curve.values(), strict=True))
    together = -(-len(columns) * len(curve) // most)
    kept = [max(columns[i : i + together], key=sum) for i in range(0, len(columns), together)]
    rows = zip(curve, map(list, zip(*kept, strict=True)), strict=True)
    return sorted(rows, key=lambda row: -max(row[1]))
