"""A run of a suite as JSON, as Markdown, and as one HTML page that links sources and logs."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchdevice.testing.suite.journal import Result
from torchdevice.testing.suite.plan import DEVICES, Plan, Unit
from torchdevice.testing.suite.verdicts import VERDICTS, Comparison, Row, Verdict

#: These are told test by test; all else is counted.
_TOLD: tuple[Verdict, ...] = ("only on cuda", "listed", "only on cpu", "fails on both", "differs", "not run")
#: Tests of one cause that Markdown names, and characters of a message in HTML.
_FEW, _LONG = 20, 3000

Facts = Mapping[str, str]


def write(plan: Plan, found: Comparison, facts: Facts) -> list[Path]:
    """All three, into the run's folder; returns the files."""
    texts = {
        plan.out / "results.json": json.dumps(to_json(plan, found, facts), indent=1) + "\n",
        plan.out / "report.md": to_markdown(plan, found, facts),
        plan.out / "report.html": to_html(plan, found, facts),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def to_json(plan: Plan, found: Comparison, facts: Facts) -> dict[str, Any]:
    """All tests, and what each file took."""
    return {
        "facts": dict(facts),
        "counts": found.count(),
        "statuses": {device: dict(found.statuses(device)) for device in DEVICES},
        "ledger": found.untrue,
        "files": [
            {"file": unit.file, "device": unit.device, **(journal.done or {}), "is_done": journal.done is not None}
            for unit, journal in found.units.items()
        ],
        "tests": [
            {
                "test": row.test,
                "file": row.file,
                "class": row.group,
                "verdict": row.verdict,
                "reason": row.reason,
                **{device: _result(getattr(row, device)) for device in DEVICES},
            }
            for row in found.rows
        ],
    }


def _result(result: Result | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {"status": result.status, "error": result.message, "seconds": result.seconds}


def to_markdown(plan: Plan, found: Comparison, facts: Facts) -> str:
    """For people, and to be put into documents: it names no folder of this machine."""
    lines = [f"# {facts['project']}: its tests on cuda and on the CPU", ""]
    lines += ["Made by `python -m torchdevice suite`.", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in facts.items() if name != "project"]
    lines += ["", "| verdict | tests | |", "|---|--:|---|"]
    lines += [f"| {verdict} | {count:,} | {VERDICTS[verdict]} |" for verdict, count in found.count().items() if count]
    for verdict in _TOLD:
        if causes := found.causes(verdict):
            lines += ["", f"## {verdict.capitalize()}", ""]
            for cause, rows in causes:
                lines += [f"- {_cell(cause)}"]
                lines += [f"    - `{row.test}`{_reason(row)}" for row in rows[:_FEW]]
                lines += [f"    - and {len(rows) - _FEW:,} more"] if len(rows) > _FEW else []
    if found.untrue:
        lines += ["", "## What the ledger says and is not so", "", *(f"- {line}" for line in found.untrue)]
    lines += ["", "## Files", "", f"On {facts['date']}, with the most memory that a process had:", ""]
    lines += ["| file | cuda | seconds | MiB | CPU | seconds | MiB |", "|---|---|--:|--:|---|--:|--:|"]
    for file in plan.files:
        cells = [cell for device in DEVICES for cell in _file(found, Unit(file, device))]
        lines.append(f"| {file} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _reason(row: Row) -> str:
    return f": {row.reason}" if row.reason else ""


def _file(found: Comparison, unit: Unit) -> list[str]:
    journal = found.units[unit]
    if journal.done is None:
        return ["not done", "", ""]
    statuses: dict[str, int] = {}
    for result in journal.results.values():
        statuses[result.status] = statuses.get(result.status, 0) + 1
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())) or "none"
    return [counts, f"{journal.done['seconds']:.0f}", f"{journal.done['peak'] / 2**20:,.0f}"]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def to_html(plan: Plan, found: Comparison, facts: Facts) -> str:
    """One page that needs no network; the logs lie beside it."""
    files = []
    for file in plan.files:
        source = os.path.relpath(plan.folder / file, plan.out).replace(os.sep, "/")
        logs = [os.path.relpath(plan.log(Unit(file, device)), plan.out).replace(os.sep, "/") for device in DEVICES]
        files.append([file, source, *logs, *(_file(found, Unit(file, device)) for device in DEVICES)])
    places = {file: index for index, file in enumerate(plan.files)}
    rows = [
        [places[row.file], row.name, row.verdict, *(_brief(row, device) for device in DEVICES), _grouped(row)]
        for row in found.rows
    ]
    data = {
        "verdicts": [[name, count, VERDICTS[name]] for name, count in found.count().items()],
        "files": files,
        "rows": rows,
        "untrue": found.untrue,
    }
    # A script's text ends at the first "</", whatever stands around it.
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    facts_rows = "".join(f"<tr><th>{html.escape(name)}<td>{html.escape(value)}" for name, value in facts.items())
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    parts = {"@PROJECT@": html.escape(facts["project"]), "@FACTS@": facts_rows, "@DATA@": text}
    for mark, part in parts.items():
        page = page.replace(mark, part)
    return page


def _grouped(row: Row) -> str:
    return row.reason or (row.cause if row.verdict in _TOLD else "")


def _brief(row: Row, device: str) -> list[Any]:
    """Status, seconds, and a message where it is not the same for all."""
    result: Result | None = getattr(row, device)
    if result is None:
        return []
    is_told = row.verdict != "passes"
    return [result.status, result.seconds, *([result.message[:_LONG]] if is_told and result.message else [])]
