"""What the tests of one file did on one device, as lines of JSON: written as it happens, read to go on from there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Of a test. "crashed", "timed out", "out of memory" ended its process; "not run" had no time left.
STATUSES = ("passed", "skipped", "failed", "crashed", "timed out", "out of memory", "not run")


@dataclass(frozen=True)
class Result:
    """What one test did."""

    status: str  #: one of STATUSES
    message: str = ""
    seconds: float = 0.0

    @property
    def fails(self) -> bool:
        return self.status not in ("passed", "skipped", "not run")

    def headline(self) -> str:
        """The message's first line, if it is not too long."""
        return self.message.strip().partition("\n")[0][:200]


Results = dict[str, Result]


@dataclass
class Journal:
    """All that one file of lines says."""

    results: Results = field(default_factory=dict)
    #: The tests that there are; None until they were looked for.
    collected: list[str] | None = None
    #: The test that has begun and not ended.
    running: str | None = None
    #: Whether pytest came to its end, in the last process.
    finished: bool = False
    #: The unit is done: seconds in all, the most memory, how many processes.
    done: dict[str, Any] | None = None


def read(path: Path) -> Journal:
    """A journal; an empty one where there is none. A line that was cut off as it was written is left out."""
    journal = Journal()
    if path.exists():
        with path.open("rb") as file:
            take(journal, [line for line in file if line.endswith(b"\n")])
    return journal


def take(journal: Journal, lines: list[bytes]) -> None:
    """Add lines to what is known."""
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the process was ended while it wrote, and another went on behind it
        event = entry.pop("event")
        if event == "begin":
            journal.running = entry["test"]
            journal.finished = False
        elif event == "end":
            name = entry.pop("test")
            journal.results[name] = Result(**entry)
            journal.running = None
        elif event == "collected":
            journal.collected = entry["tests"]
        elif event == "finished":
            journal.finished = True
        elif event == "done":
            journal.done = entry


def add(path: Path, entry: dict[str, Any]) -> None:
    """Write a line behind the others, and behind what is left of a line that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut = b""
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, 2)
            cut = b"\n" if file.read(1) != b"\n" else b""
    with path.open("ab") as file:
        file.write(cut + json.dumps(entry).encode() + b"\n")
