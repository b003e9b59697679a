"""`torchdevice scan`: reads a program and says what will not work, as a table, JSON or SARIF."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torchdevice import progress
from torchdevice.cli.values import new_file
from torchdevice.files import write
from torchdevice.scan.analysis import scan
from torchdevice.scan.files import TargetError
from torchdevice.scan.findings import Finding, Report
from torchdevice.scan.rules import Verdict
from torchdevice.scan.sarif import to_sarif

#: Exit statuses; argparse has the last one too.
FITS, DOES_NOT_FIT, USAGE = 0, 1, 2

EPILOG = """\
examples:
  torchdevice scan train.py
  torchdevice scan . --sarif scan.sarif
  torchdevice scan timm --json

exit status: 0 nothing that cannot work, 1 something that cannot, 2 nothing to scan
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="PATH|PACKAGE", help="a file, a folder, or a package that is installed here")
    parser.add_argument("--json", action="store_true", help="print the report as data")
    parser.add_argument("--sarif", type=new_file, metavar="FILE", help="write it as SARIF 2.1.0, for code scanning")
    parser.add_argument("--all", action="store_true", help="in the table, also what works")
    parser.set_defaults(call=_main)


def _main(arguments: argparse.Namespace) -> int:
    return run(arguments.target, Options(arguments.json, arguments.sarif, arguments.all))


@dataclass(frozen=True)
class Options:
    """How a scan is to be told."""

    json: bool
    sarif: Path | None
    everything: bool  #: what works, too


def run(target: str, options: Options) -> int:
    """Scan and tell; returns the exit status."""
    try:
        with progress.during(f"looking for files in {target}"):
            report = scan(target, _show)
    except TargetError as error:
        print(f"torchdevice scan: {error}", file=sys.stderr)
        return USAGE
    written = options.sarif is None or write("scan", options.sarif, json.dumps(to_sarif(report), indent=2) + "\n")
    print(json.dumps(to_json(report), indent=2) if options.json else to_text(report, options.everything))
    if not report.files or not written:
        return USAGE
    return FITS if report.fits else DOES_NOT_FIT


def _show(done: int, total: int) -> None:
    if done % 20 == 1:
        progress.show(f"{done} of {total} files")


def to_json(report: Report) -> dict[str, object]:
    """The report as data."""
    return {
        "target": report.target,
        "files": report.files,
        "counts": {verdict.value: count for verdict, count in report.count().items()},
        "findings": [
            {
                "rule": one.rule.id,
                "verdict": one.verdict.value,
                "path": one.path,
                "line": one.line,
                "column": one.column,
                "cell": one.cell,
                "what": one.what,
                "guard": one.guard,
                "title": plain(one.rule.title),
                "advice": plain(one.rule.advice),
            }
            for one in report.findings
        ],
        "unread": [{"path": one.path, "reason": one.reason} for one in report.unread],
    }


def to_text(report: Report, everything: bool) -> str:
    """A table, what to do about each rule in it, and a summary."""
    worst = list(Verdict)
    shown = [one for one in report.findings if everything or one.verdict is not Verdict.WORKS]
    shown.sort(key=lambda one: worst.index(one.verdict))
    parts = [*_table(shown), *_advice(shown)]
    parts += [f"{one.path}: not read: {one.reason}" for one in report.unread]
    counts = ", ".join(f"{count} {verdict.value}" for verdict, count in report.count().items() if count)
    parts.append(f"{report.files} {_plural('file', report.files)} read: {counts or 'nothing of a GPU found'}.")
    return "\n".join(parts)


def _table(findings: list[Finding]) -> list[str]:
    if not findings:
        return []
    rows = [(_place(one), one.verdict.value, one.rule.id, _what(one)) for one in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    return [*lines, ""]


def _place(finding: Finding) -> str:
    return finding.place if finding.cell is None else f"{finding.place} (cell {finding.cell})"


def _what(finding: Finding) -> str:
    guarded = finding.rule.verdict is Verdict.CANNOT and finding.guard is not None
    return f"{finding.what} [guarded: {finding.guard}]" if guarded else finding.what


def _advice(findings: Iterable[Finding]) -> list[str]:
    rules = {one.rule.id: one.rule for one in findings if one.verdict is not Verdict.WORKS}
    lines = [f"{rule.id}: {plain(rule.title)}.\n    {plain(rule.advice)}" for rule in rules.values()]
    return [*lines, ""] if lines else []


def plain(markdown: str) -> str:
    """Without the backticks."""
    return markdown.replace("`", "")


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
