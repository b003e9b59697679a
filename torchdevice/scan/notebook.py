"""Cells of a Jupyter notebook as Python, with the line of the file for each of theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass


class NotebookError(ValueError):
    """It is no notebook; the message says why."""


@dataclass(frozen=True)
class Cells:
    """The code of all cells, one after the other."""

    code: str
    places: tuple[tuple[int, int], ...]  #: (the file's line, the cell) of each line of the code
    commands: tuple[tuple[str, int, int], ...]  #: (`!` command, the file's line, the cell)


class _Lines:
    """Lines of the file on which texts of its JSON stand, asked for in their order."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._line = 1

    def next(self, part: str) -> int:
        forms = (json.dumps(part, ensure_ascii=False), json.dumps(part))
        starts = [start for form in forms if (start := self._text.find(form, self._position)) >= 0]
        if starts:
            self._line += self._text.count("\n", self._position, min(starts))
            self._position = min(starts) + 1
        return self._line


def read(text: str) -> Cells:
    """The cells of a notebook.

    Raises:
        NotebookError: it is no JSON, or has no cells.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotebookError(f"no notebook: {error}") from None
    cells = content.get("cells") if isinstance(content, dict) else None
    if not isinstance(cells, list):
        raise NotebookError("no notebook of format 4: there is no list of cells")
    code: list[str] = []
    places: list[tuple[int, int]] = []
    commands: list[tuple[str, int, int]] = []
    find = _Lines(text)
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        is_python = True
        for index, (line, at) in enumerate(_lines_of(cell, find)):
            bare = line.lstrip()
            if index == 0 and bare.startswith("%%"):
                is_python = bare.split()[0] in ("%%time", "%%timeit", "%%capture", "%%prun")
            if bare.startswith("!"):
                commands.append((bare[1:].strip(), at, number))
            is_magic = bare.startswith(("%", "!", "?")) or bare.rstrip().endswith("?")
            indent = line[: len(line) - len(bare)]
            code.append(f"{indent}pass" if is_magic or not is_python else line)
            places.append((at, number))
    return Cells("\n".join(code), tuple(places), tuple(commands))


def _lines_of(cell: dict[str, object], find: _Lines) -> Iterator[tuple[str, int]]:
    source = cell.get("source", "")
    if isinstance(source, str):
        at = find.next(source)
        yield from ((line, at) for line in source.splitlines())
    elif isinstance(source, list):
        for part in source:
            if isinstance(part, str):
                at = find.next(part)
                yield from ((line, at) for line in part.splitlines())
