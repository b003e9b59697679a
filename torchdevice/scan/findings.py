"""What a scan finds, and what it could not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torchdevice.scan.rules import RULES, Rule, Verdict


@dataclass(frozen=True)
class Finding:
    """A place in a program that a rule is about."""

    rule: Rule
    path: str
    line: int
    column: int  #: from 1
    what: str  #: the code that was found, in short
    guard: str | None = None  #: why the program may well go on without it
    cell: int | None = None  #: of a notebook, from 1

    @property
    def verdict(self) -> Verdict:
        """What is guarded stops no program."""
        if self.rule.verdict is Verdict.CANNOT and self.guard is not None:
            return Verdict.DIFFERS
        return self.rule.verdict

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Unread:
    """A file that could not be read."""

    path: str
    reason: str


@dataclass(frozen=True)
class Report:
    """All that a scan has to say."""

    target: str
    files: int  #: that were read
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]

    def count(self) -> dict[Verdict, int]:
        counts = Counter(finding.verdict for finding in self.findings)
        return {verdict: counts[verdict] for verdict in Verdict}

    @property
    def fits(self) -> bool:
        """Whether there is nothing that cannot work."""
        return not self.count()[Verdict.CANNOT]


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By place, one of a rule on a line; of what works the first in a file."""
    kept: dict[tuple[object, ...], Finding] = {}
    for one in sorted(findings, key=lambda one: (one.path, one.line, one.column, one.rule.id)):
        works = one.verdict is Verdict.WORKS
        kept.setdefault((one.path, one.rule.id, None if works else one.line), one)
    return tuple(kept.values())


def with_builders(findings: Iterable[Finding]) -> list[Finding]:
    """Sources in CUDA C++ are as guarded as all that builds them is, if anything is seen that builds them."""
    findings = list(findings)
    builders = [one for one in findings if one.rule is RULES["cuda-extension"]]
    if not builders or any(one.guard is None for one in builders):
        return findings
    built = f"what builds it, {builders[0].place}, is itself guarded: {builders[0].guard}"
    sources = (RULES["cuda-source"], RULES["cuda-header"])
    return [replace(one, guard=one.guard or built) if one.rule in sources else one for one in findings]
