"""The findings of this process as records, and as text."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Code that is nobody's mistake: it stands between the program's lines and the operator.
_LIBRARY_FOLDERS = ("torch", "torchdevice")
_LIBRARY_FILES = ("<frozen runpy>", "<string>")
#: What torch does on purpose, by kind, file and function: make_graphed_callables warms up and captures backward passes
#: with gradients that have no values yet.
_ON_PURPOSE = (("uninitialized", "/torch/cuda/graphs.py", "make_graphed_callables"),)
_FRAMES = 6  #: lines of a stack that the text shows


@dataclass(frozen=True)
class Frame:
    """A line of Python code."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        path = os.path.relpath(self.file) if Path(self.file).is_relative_to(Path.cwd()) else self.file
        return f"{path}:{self.line} in {self.function}"


@dataclass(frozen=True)
class Place:
    """One side of a finding: an operator or another act of the program."""

    what: str
    #: Of the operator; None where it is not about one.
    argument: str | None
    stream: str | None
    #: The innermost first; empty on a thread that runs no Python code.
    stack: tuple[Frame, ...]

    @property
    def program(self) -> tuple[Frame, ...]:
        """The stack without torch's own lines; all of it where nothing else is there."""
        return program_lines(self.stack)


@dataclass(frozen=True)
class Finding:
    """A mistake, told once however often it was made."""

    kind: str
    explanation: str
    remedy: str
    #: The earlier one first.
    places: tuple[Place, ...]
    count: int

    def to_data(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.explanation}"]
        for place in self.places:
            argument = f" ({place.argument})" if place.argument else ""
            stream = f" on {place.stream}" if place.stream else ""
            lines.append(f"  {place.what}{argument}{stream}")
            lines += [f"    {frame}" for frame in place.program[:_FRAMES]]
        times = f" Seen {self.count:,} times." if self.count > 1 else ""
        return "\n".join([*lines, f"  To mend it: {self.remedy}{times}"])


def findings() -> list[Finding]:
    """What was found so far, in the order in which it was found first."""
    from torchdevice import _C  # loads only where torch is imported

    found = (
        Finding(kind, explanation, remedy, tuple(_place(*place) for place in places), count)
        for kind, explanation, remedy, count, places in _C.check_findings()
    )
    return [finding for finding in found if not _is_on_purpose(finding)]


def _is_on_purpose(finding: Finding) -> bool:
    frames = [frame for place in finding.places for frame in place.stack]
    return any(
        finding.kind == kind and frame.function == function and frame.file.endswith(file)
        for kind, file, function in _ON_PURPOSE
        for frame in frames
    )


def stack_of(lines: list[tuple[str, int, str]]) -> tuple[Frame, ...]:
    """A stack as the engine tells it."""
    return tuple(Frame(_absolute(file), line, function) for file, line, function in lines)


def _absolute(file: str) -> str:
    """Python knows the file that it was started with by the name that it was given."""
    return file if file.startswith("<") else os.path.abspath(file)


def program_lines(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The lines that are not torch's; all of them where nothing else is there."""
    return tuple(frame for frame in stack if not _is_library_code(frame.file)) or stack


def _place(what: str, argument: str, stream: str, stack: list[tuple[str, int, str]]) -> Place:
    return Place(what, argument or None, stream or None, stack_of(stack))


def _is_library_code(file: str) -> bool:
    folders = (getattr(sys.modules.get(name), "__file__", None) for name in _LIBRARY_FOLDERS)
    return file in _LIBRARY_FILES or any(folder and file.startswith(os.path.dirname(folder)) for folder in folders)
