"""The scan: reads every file of a target and puts together what the readers find. Nothing is run, nothing imported."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from torchdevice.scan import checks, cpp, files, notebook, program, requirements
from torchdevice.scan.files import Source
from torchdevice.scan.findings import Finding, Report, Unread, in_order, with_builders
from torchdevice.scan.own import Own, OwnModules
from torchdevice.scan.reach import Reach
from torchdevice.scan.rules import RULES, Rule

#: Called with the number of files that were read, and that of all.
Progress = Callable[[int, int], None]

_PIP = re.compile(r"(?:python3? -m )?pip3? install (.*)")


class UnreadableError(Exception):
    """A file that cannot be read; the message says why."""


def scan(target: str, progress: Progress | None = None) -> Report:
    """All that is found in a folder, a file or an installed package.

    Raises:
        files.TargetError: there is nothing to scan.
    """
    sources = files.find(target)
    findings: list[Finding] = []
    unread: list[Unread] = []
    own = OwnModules(sources)
    reach = Reach(sources)
    for number, source in enumerate(sources, 1):
        if progress is not None:
            progress(number, len(sources))
        try:
            findings += _read(source, own.of(source), reach)
        except UnreadableError as error:
            unread.append(Unread(source.shown, str(error)))
    guards = {source.shown: guard for source in sources if (guard := reach.guard(source.path)) is not None}
    findings = [replace(one, guard=one.guard or guards.get(one.path)) for one in findings]
    return Report(target, len(sources) - len(unread), in_order(with_builders(findings)), tuple(unread))


def _read(source: Source, own: Own, reach: Reach) -> Iterable[Finding]:
    """What is in one file.

    Raises:
        UnreadableError: it is not what its name says.
    """
    try:
        content = source.path.read_bytes()
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    if source.kind == files.PYTHON:
        return _of_python(source, _decoded_python(content), own, reach)
    text = _decoded(content)
    if source.kind == files.NOTEBOOK:
        return _of_notebook(source, text, own)
    if source.kind == files.CPP:
        found = cpp.find(text, source.path.suffix)
        return [Finding(RULES[id], source.shown, line, 1, what, guard) for id, line, what, guard in found]
    required = (
        requirements.of_project(text) if source.kind == files.PROJECT else requirements.of_file(text, source.path.name)
    )
    return _of_requirements(source, required)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8: byte {error.start}") from None


def _decoded_python(content: bytes) -> str:
    """By the encoding that the source declares."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return io.TextIOWrapper(io.BytesIO(content), encoding, newline=None).read()
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise UnreadableError(f"cannot be decoded: {error}") from None


def _parsed(text: str, own: Own, line: Callable[[int], str]) -> program.Program:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in somebody's texts
            return program.read(text, own)
    except SyntaxError as error:
        raise UnreadableError(f"no Python 3: {error.msg}, {line(error.lineno or 1)}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError(f"no Python 3: {error or type(error).__name__}") from None


def _of_python(source: Source, text: str, own: Own, reach: Reach) -> list[Finding]:
    parsed = _parsed(text, own, lambda number: f"line {number}")
    reach.add(source, parsed)
    found = [
        Finding(rule, source.shown, use.node.lineno, use.node.col_offset + 1, what, parsed.guard(use))
        for use, rule, what in checks.check(parsed)
    ]
    if source.path.name == "setup.py":
        found += _of_requirements(source, requirements.of_setup(ast.parse(text)))
    return found


def _of_notebook(source: Source, text: str, own: Own) -> list[Finding]:
    try:
        cells = notebook.read(text)
    except notebook.NotebookError as error:
        raise UnreadableError(str(error)) from None

    def place(number: int) -> tuple[int, int]:
        return cells.places[min(number, len(cells.places)) - 1] if cells.places else (1, 1)

    parsed = _parsed(cells.code, own, lambda number: "line {}, cell {}".format(*place(number)))
    found = [
        Finding(rule, source.shown, *_at(place(use.node.lineno)), what, parsed.guard(use), place(use.node.lineno)[1])
        for use, rule, what in checks.check(parsed)
    ]
    for command, line, cell in cells.commands:
        if "nvidia-smi" in command:
            found.append(Finding(RULES["nvidia-smi-in-shell"], source.shown, line, 1, f"!{command}", None, cell))
        for rule, what in _installed(command):
            found.append(Finding(rule, source.shown, line, 1, f"!pip install {what}", None, cell))
    return found


def _at(place: tuple[int, int]) -> tuple[int, int]:
    return place[0], 1


def _installed(command: str) -> Iterator[tuple[Rule, str]]:
    """Of `!pip install …`."""
    packages = _PIP.match(command)
    for word in packages[1].split() if packages is not None else ():
        if not word.startswith("-"):
            yield from requirements.Requirement(word.strip("\"'"), 0).found()


def _of_requirements(source: Source, required: Iterable[requirements.Requirement]) -> list[Finding]:
    return [Finding(rule, source.shown, one.line, 1, what, one.guard) for one in required for rule, what in one.found()]
