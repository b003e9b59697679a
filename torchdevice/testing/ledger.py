"""A ledger: what is known to fail, each with its reason, and the rule that the list is true.

A ledger is a TOML file of `[[entry]]` tables. Each has `names`, patterns in which `*` is any text, `?` is any character
and nothing else is special, and a `reason`. An entry with `sometimes = true` may also pass. A ledger of a certain kind
adds fields of its own: a subclass of Entry. A failure without an entry is an error; so are an entry that passes and a
pattern that names nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TypeVar

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Entry:
    """Names that are expected to fail."""

    names: list[str]
    reason: str
    sometimes: bool = field(default=False, kw_only=True)

    def covers(self, name: str) -> bool:
        """Whether one of the patterns matches the name."""
        return any(_regex(pattern).fullmatch(name) for pattern in self.names)

    def without_match(self, names: Iterable[str]) -> list[str]:
        """The patterns that match none of the names."""
        names = list(names)
        return [pattern for pattern in self.names if not any(map(_regex(pattern).fullmatch, names))]


AnyEntry = TypeVar("AnyEntry", bound=Entry)


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def load(path: Path, kind: type[AnyEntry]) -> list[AnyEntry]:
    """The entries of a ledger, in the file's order.

    Raises:
        ValueError: an entry lacks names or a reason, or has a key that its kind does not know.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    known = {one.name for one in fields(kind)}
    entries = []
    for number, table in enumerate(content.pop("entry", []), 1):
        where = f"{path.name}, entry {number}"
        if unknown := sorted(set(table) - known):
            raise ValueError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(sorted(known))}")
        for key in ("names", "reason"):
            if not table.get(key):
                raise ValueError(f"{where}: {key} is missing or empty")
        if not isinstance(table["names"], list) or not all(isinstance(name, str) for name in table["names"]):
            raise ValueError(f"{where}: names is not a list of texts")
        entries.append(kind(**table))
    if content:
        raise ValueError(f"{path.name}: unknown key {sorted(content)[0]!r}; a ledger has [[entry]] tables only")
    return entries


def find(entries: Iterable[AnyEntry], name: str) -> AnyEntry | None:
    """The first entry that covers the name."""
    return next((entry for entry in entries if entry.covers(name)), None)


def passing(entries: Sequence[Entry], passed: Iterable[str]) -> Iterator[str]:
    """A line for each name that passed although an entry says that it always fails."""
    for name in passed:
        entry = find(entries, name)
        if entry and not entry.sometimes:
            yield f"{name}: passes, but the ledger says: {entry.reason}"


def unused(entries: Iterable[Entry], names: Iterable[str]) -> Iterator[str]:
    """A line for each pattern that matches none of the names, which are all that there are."""
    names = list(names)
    for entry in entries:
        for pattern in entry.without_match(names):
            yield f"{pattern}: names nothing, but the ledger says: {entry.reason}"
