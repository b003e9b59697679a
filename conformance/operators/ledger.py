"""What is known not to pass, and the rule that the list is true: `ledger.toml`.

A finding that no entry names fails the run; so does an entry of which something passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from pathlib import Path
from typing import Any

import tomllib

PATH = Path(__file__).with_name("ledger.toml")


@dataclass
class Entry:
    """Findings that are expected; `ops` are shell patterns, the others regular expressions that match anywhere."""

    ops: list[str]
    reason: str
    variant: str = ""
    check: str = ""
    got: str = ""
    dtypes: list[str] = field(default_factory=list)
    #: It depends on what lay in memory, so that it may pass.
    sometimes: bool = False
    #: The native backend that it is about; empty: all.
    native: str = ""

    def matches(self, result: dict[str, Any], finding: dict[str, Any]) -> bool:
        return (
            any(_pattern(op).match(result["op"]) for op in self.ops)
            and (not self.dtypes or result["dtype"] in self.dtypes)
            and re.search(self.variant, finding["variant"]) is not None
            and re.search(self.check, finding["check"]) is not None
            and re.search(self.got, finding["examples"][0]["got"]) is not None
        )


@cache
def _pattern(op: str) -> re.Pattern[str]:
    return re.compile(translate(op.replace("[", "[[]")))


def load(native: str, path: Path = PATH) -> list[Entry]:
    """The ledger's entries for a native backend, "cpu" or "mps".

    Raises:
        TypeError: an entry has a key that is not one of Entry's, or lacks ops or a reason.
    """
    entries = [Entry(**entry) for entry in tomllib.loads(path.read_text()).get("entry", [])]
    return [entry for entry in entries if entry.native in ("", native)]


def unlisted(result: dict[str, Any], entries: list[Entry]) -> list[dict[str, Any]]:
    """The findings of one result that no entry names."""
    return [one for one in result["findings"] if not any(entry.matches(result, one) for entry in entries)]


def passing(results: Iterable[dict[str, Any]], entries: list[Entry]) -> Iterator[str]:
    """What the ledger says fails and did not, one line each: an op pattern or a dtype of an entry without a finding."""
    found = [(result, finding) for result in results for finding in result["findings"]]
    for number, entry in enumerate(entries, 1):
        if entry.sometimes:
            continue
        matching = [result for result, finding in found if entry.matches(result, finding)]
        for op in entry.ops:
            if not any(_pattern(op).match(result["op"]) for result in matching):
                yield f"entry {number} ({entry.reason}): {op} passes"
        for dtype in entry.dtypes:
            if not any(result["dtype"] == dtype for result in matching):
                yield f"entry {number} ({entry.reason}): {dtype} passes"
