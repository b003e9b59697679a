"""Findings that somebody has looked at and lets be: a file of lines `KIND PATTERN  # why`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from torchdevice.check.findings import Finding


@dataclass(frozen=True)
class Suppression:
    """`pattern` is compared with the operators of a finding and with the lines of its stacks, as FILE:FUNCTION."""

    kind: str
    pattern: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        names = [place.what for place in finding.places]
        names += [f"{frame.file}:{frame.function}" for place in finding.places for frame in place.program]
        return fnmatchcase(finding.kind, self.kind) and any(fnmatchcase(name, self.pattern) for name in names)


def load(path: Path) -> list[Suppression]:
    """The lines of a file; those that are empty, or begin with `#`, are for people.

    Raises:
        ValueError: a line says no reason, or not what it is about; the message has its number.
    """
    loaded = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        rule, _, reason = (part.strip() for part in line.partition("#"))
        kind, _, pattern = rule.partition(" ")
        if not pattern.strip() or not reason:
            raise ValueError(f"{path}:{number}: must be KIND PATTERN  # why, but is '{line.strip()}'")
        loaded.append(Suppression(kind, pattern.strip(), reason))
    return loaded


def split(found: Sequence[Finding], suppressions: Sequence[Suppression]) -> tuple[list[Finding], list[Suppression]]:
    """The findings that are left, and the suppressions that nothing needed."""
    left = [one for one in found if not any(suppression.covers(one) for suppression in suppressions)]
    idle = [suppression for suppression in suppressions if not any(suppression.covers(one) for one in found)]
    return left, idle
