"""What the tests did on either device, side by side: which failures are cuda's own, which the ledger lets through."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torchdevice.testing import ledger
from torchdevice.testing.suite.journal import Journal, Result, read
from torchdevice.testing.suite.plan import DEVICES, Plan, Unit

Verdict = Literal["only on cuda", "listed", "only on cpu", "differs", "fails on both", "not run", "skipped", "passes"]
#: The worst first, and what each means.
VERDICTS: dict[Verdict, str] = {
    "only on cuda": "fails on cuda, and not on the CPU",
    "listed": "fails on cuda alone, as the ledger says",
    "only on cpu": "fails on the CPU, and not on cuda",
    "differs": "passes on one, and is skipped or not there on the other",
    "fails on both": "fails on cuda and on the CPU",
    "not run": "had no time left",
    "skipped": "skipped on both",
    "passes": "passes",
}


@dataclass(frozen=True)
class Row:
    """One test on both devices."""

    file: str
    test: str
    verdict: Verdict
    cuda: Result | None
    cpu: Result | None
    reason: str = ""  #: the ledger's

    @property
    def name(self) -> str:
        """Without its file."""
        return self.test.partition("::")[2] or self.test

    @property
    def group(self) -> str:
        """The classes that it stands in."""
        return "::".join(self.test.split("::")[1:-1])

    @property
    def cause(self) -> str:
        """The first line of what failed, without what differs from test to test; else what it did on either device."""
        result = self.cuda if self.cuda is not None and self.cuda.fails else self.cpu
        if result is None or not result.fails:
            return self._sides()
        said = f"{result.status}: " if result.status != "failed" else ""
        text = re.sub(r"0x[0-9a-f]+|\b\d+(\.\d+)?(e[+-]?\d+)?\b", "N", result.headline())
        return f"{said}{text}" or "no message"

    def _sides(self) -> str:
        """What it did on either device."""
        texts = []
        for device in DEVICES:
            result: Result | None = getattr(self, device)
            said = f" ({result.headline()})" if result is not None and result.headline() else ""
            texts.append(f"{device}: {result.status if result is not None else 'not there'}{said}")
        return ", ".join(texts)


@dataclass(frozen=True)
class Comparison:
    """All tests of a run."""

    rows: list[Row]
    untrue: list[str]  #: what the ledger says and is not so
    units: dict[Unit, Journal]

    def count(self) -> dict[Verdict, int]:
        found = Counter(row.verdict for row in self.rows)
        return {verdict: found[verdict] for verdict in VERDICTS}

    def of(self, verdict: Verdict) -> list[Row]:
        return [row for row in self.rows if row.verdict == verdict]

    def statuses(self, device: str) -> Counter[str]:
        """How many tests have which status on a device."""
        results = (getattr(row, device) for row in self.rows)
        return Counter(result.status for result in results if result is not None)

    @property
    def is_clean(self) -> bool:
        """Nothing fails on cuda alone but what the ledger lists, and the ledger is true."""
        return not self.of("only on cuda") and not self.untrue

    def causes(self, verdict: Verdict) -> list[tuple[str, list[Row]]]:
        """Failures by what they say, the most frequent first."""
        groups: dict[str, list[Row]] = {}
        for row in self.of(verdict):
            groups.setdefault(row.cause, []).append(row)
        return sorted(groups.items(), key=lambda one: (-len(one[1]), one[0]))


def compare(plan: Plan) -> Comparison:
    """What the journals of a run say."""
    units = {Unit(file, device): read(plan.journal(Unit(file, device))) for file in plan.files for device in DEVICES}
    entries = ledger.load(Path(plan.profile.ledger), ledger.Entry) if plan.profile.ledger else []
    rows: list[Row] = []
    for file in plan.files:
        cuda, cpu = (units[Unit(file, device)].results for device in DEVICES)
        twins = {plan.profile.twin(test) for test in cuda}
        for test, result in cuda.items():
            rows.append(_judged(file, test, result, cpu.get(plan.profile.twin(test)), entries))
        rows += [_judged(file, test, None, result, entries) for test, result in cpu.items() if test not in twins]
    return Comparison(rows, _untrue(plan, rows, entries), units)


def _judged(file: str, test: str, cuda: Result | None, cpu: Result | None, entries: list[ledger.Entry]) -> Row:
    if cuda is not None and cuda.fails and not (cpu is not None and cpu.fails):
        entry = ledger.find(entries, test)
        return Row(file, test, "listed" if entry else "only on cuda", cuda, cpu, entry.reason if entry else "")
    return Row(file, test, _alike(cuda, cpu), cuda, cpu)


def _alike(cuda: Result | None, cpu: Result | None) -> Verdict:
    """The verdict where nothing fails on cuda alone."""
    if cuda is None:
        return "only on cpu" if cpu is not None and cpu.fails else "differs"
    if cuda.fails:
        return "fails on both"
    if cuda.status == "not run":
        return "not run"
    if cpu is not None and cpu.fails:
        return "only on cpu"
    if cpu is not None and cpu.status != cuda.status:
        return "differs"
    return "passes" if cuda.status == "passed" else "skipped"


def _untrue(plan: Plan, rows: Iterable[Row], entries: list[ledger.Entry]) -> list[str]:
    results = {row.test: row.cuda for row in rows if row.cuda is not None}
    lines = list(ledger.passing(entries, [test for test, result in results.items() if result.status == "passed"]))
    if not plan.choice:
        of_files = [entry for entry in entries if any(entry.names[0].startswith(f"{file}::") for file in plan.files)]
        lines += ledger.unused(of_files, results)
    return lines
