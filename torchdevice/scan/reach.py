"""Files that other files of the same program import, and only under guards: `try: from .fast import attend`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torchdevice.scan.files import Source
from torchdevice.scan.program import OWN_IMPORT, Program


@dataclass(frozen=True)
class _Import:
    importer: Path
    place: str
    guard: str | None


class Reach:
    """Who imports whom in a program, as its files are read."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._paths = {source.path for source in sources}
        self._imports: defaultdict[Path, list[_Import]] = defaultdict(list)

    def add(self, source: Source, program: Program) -> None:
        """The imports of one file."""
        for use in program.uses:
            if use.kind == OWN_IMPORT:
                one = _Import(source.path, f"{source.shown}:{use.node.lineno}", program.guard(use))
                for path in set(self._found(source, use.name)) - {source.path}:
                    self._imports[path].append(one)

    def guard(self, path: Path, seen: frozenset[Path] = frozenset()) -> str | None:
        """Of a file that is imported, and nowhere without a guard. What nobody imports may be a program."""
        places = []
        for one in self._imports.get(path, []):
            if one.importer in seen:
                continue
            guard = one.guard or self.guard(one.importer, seen | {path})
            if guard is None:
                return None
            places.append(f"its file is only imported under a guard, {one.place}: {guard}")
        return places[0] if places else None

    def _found(self, source: Source, name: str) -> Iterator[Path]:
        """The files that a module's name may stand for, those of its packages too."""
        bare = name.lstrip(".")
        level = len(name) - len(bare)
        parents = source.path.parents
        # Absolute names begin in any folder from the file's up to that of the program, or beside its package.
        folders = [parents[level - 1]] if 0 < level <= len(parents) else [*parents] if level == 0 else []
        for folder in folders:
            below = folder
            for part in bare.split("."):
                below = below / part
                for path in (below.with_suffix(".py"), below / "__init__.py"):
                    if path in self._paths:
                        yield path
