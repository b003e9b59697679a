"""Reports read back from files: of a program (`run --json`) and of tests (`pytest --torchdevice-report`)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchdevice.reports.operators import Operator, Report, Tally

#: Tests that the table of a run of tests names, at most.
_TESTS = 10


class NotAReportError(ValueError):
    """The file has no report; the text says which file, and why."""


@dataclass(frozen=True)
class Saved:
    """One file."""

    path: Path
    what: Report | Tests

    @property
    def fallbacks(self) -> int:
        return self.what.fallbacks

    def to_data(self) -> dict[str, Any]:
        """The operators that fell back, whichever kind of file it is."""
        what = self.what
        return {
            "file": str(self.path),
            "kind": "run" if isinstance(what, Report) else "tests",
            "backend": what.backend,
            "fallbacks": what.fallbacks,
            "operators": _fallen(what) if isinstance(what, Report) else what.operators,
        }

    def __str__(self) -> str:
        return str(self.what)


@dataclass(frozen=True)
class Tests:
    """A run of pytest."""

    backend: str
    devices: int
    #: Calls that fell back, by operator.
    operators: dict[str, int]
    outcomes: dict[str, int]
    #: Calls that fell back, by test.
    tests: dict[str, int]

    @property
    def fallbacks(self) -> int:
        return sum(self.operators.values())

    def __str__(self) -> str:
        outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(self.outcomes.items()))
        lines = [f"tests on {self.devices} devices over {self.backend.upper()}: {outcomes or 'none'}"]
        lines.append(f"{self.fallbacks:,} calls fell back to the CPU")
        for title, counts in (("operator", self.operators), ("test", self.tests)):
            used = Counter({name: calls for name, calls in counts.items() if calls}).most_common()
            shown = used if title == "operator" else used[:_TESTS]
            if shown:
                lines += [f"   calls  {title}", *(f"{calls:8,}  {name}" for name, calls in shown)]
            if len(used) > len(shown):
                lines.append(f"          and {len(used) - len(shown):,} {title}s more")
        return "\n".join(lines)


def read(path: Path) -> Saved:
    """The report in a file.

    Raises:
        NotAReportError: the file cannot be read, or is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotAReportError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise NotAReportError(f"{path} is no JSON") from None
    try:
        what = _tests(data) if "tests" in data else _run(data)
    except (AttributeError, KeyError, TypeError):
        wrote = "what `torchdevice run --json` or `pytest --torchdevice-report` writes"
        raise NotAReportError(f"{path} is not {wrote}") from None
    return Saved(path, what)


def _run(data: dict[str, Any]) -> Report:
    operators = tuple(
        Operator(one["name"], Tally(**one["native"]), Tally(**one["cpu"]), one["reason"]) for one in data["operators"]
    )
    others = {name: value for name, value in data.items() if name not in ("operators", "fallbacks")}
    return Report(operators=operators, **others)


def _tests(data: dict[str, Any]) -> Tests:
    tests = data["tests"]
    return Tests(
        backend=str(data["backend"]),
        devices=int(data["devices"]),
        operators=dict(data["operators"]),
        outcomes=dict(Counter(one["outcome"] for one in tests.values())),
        tests={name: sum(one["fallbacks"].values()) for name, one in tests.items()},
    )


def _fallen(report: Report) -> dict[str, int]:
    return {operator.name: operator.cpu.calls for operator in report.operators if operator.cpu.calls}
