"""What is known not to pass, and the rule that the list is true: `ledger.toml`.

A finding that no entry names fails the run; so does an entry of which something passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchdevice.testing import ledger

PATH = Path(__file__).with_name("ledger.toml")


@dataclass(frozen=True)
class Entry(ledger.Entry):
    """Findings that are expected of subjects; the other keys are regular expressions that match anywhere."""

    variant: str = ""
    check: str = ""
    got: str = ""
    dtypes: list[str] = field(default_factory=list)
    #: The native backend that it is about; empty: all.
    native: str = ""

    def matches(self, result: dict[str, Any], finding: dict[str, Any]) -> bool:
        return (
            self.covers(result["op"])
            and (not self.dtypes or result["dtype"] in self.dtypes)
            and re.search(self.variant, finding["variant"]) is not None
            and re.search(self.check, finding["check"]) is not None
            and re.search(self.got, finding["examples"][0]["got"]) is not None
        )


def load(native: str, path: Path = PATH) -> list[Entry]:
    """The ledger's entries for a native backend, "cpu" or "mps".

    Raises:
        ValueError: an entry has a key that is not one of Entry's, or lacks names or a reason.
    """
    return [entry for entry in ledger.load(path, Entry) if entry.native in ("", native)]


def unlisted(result: dict[str, Any], entries: list[Entry]) -> list[dict[str, Any]]:
    """The findings of one result that no entry names."""
    return [one for one in result["findings"] if not any(entry.matches(result, one) for entry in entries)]


def passing(results: Iterable[dict[str, Any]], entries: list[Entry]) -> Iterator[str]:
    """What the ledger says fails and did not, one line each: a name or a dtype of an entry without a finding."""
    found = [(result, finding) for result in results for finding in result["findings"]]
    for number, entry in enumerate(entries, 1):
        if entry.sometimes:
            continue
        matching = [result for result, finding in found if entry.matches(result, finding)]
        dtypes = {result["dtype"] for result in matching}
        without = entry.without_match(result["op"] for result in matching)
        without += [dtype for dtype in entry.dtypes if dtype not in dtypes]
        for name in without:
            yield f"entry {number} ({entry.reason}): {name} passes"
