"""How often public code uses each name of torch: a table in `data/uses.json`, and how it is made.

    python -m torchdevice.catalogue.uses timm-1.0.31=FOLDER peft-0.21.2=FOLDER …

FOLDER is an unpacked wheel. A name counts wherever a file of Python names it, by what its imports make of it. Methods
of tensors cannot be counted so: which class has a method of that name is only known when a program runs.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from torchdevice.scan.names import Names as Scope
from torchdevice.scan.names import imported
from torchdevice.scan.own import Own

TABLE = Path(__file__).with_name("data") / "uses.json"
#: Names that are used less often are left out.
LEAST = 3


@dataclass(frozen=True)
class Uses:
    """A table."""

    sources: list[str]  #: the programs that were read
    date: str
    counts: Counter[str]

    def __str__(self) -> str:
        return f"{', '.join(self.sources)}, {self.date}"


def shipped() -> Uses:
    """The table that comes with torchdevice."""
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    return Uses(content["sources"], content["date"], Counter(content["counts"]))


def count(paths: Iterable[Path]) -> Counter[str]:
    """How often Python files name a thing of torch."""
    counts: Counter[str] = Counter()
    for path in paths:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
            counts.update(_named(tree))
    return counts


def _named(tree: ast.Module) -> Iterable[str]:
    scope, own = Scope(), Own(frozenset(), frozenset())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for bound, means, _ in imported(node, own):
                scope.bind(bound, means)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)):
            dotted = scope.resolve(node)
            if dotted is not None and dotted.startswith("torch."):
                yield dotted


def make(programs: dict[str, Path]) -> Uses:
    """The table of some programs, by their names with versions."""
    counts = count(programs.values())
    kept = Counter({name: uses for name, uses in sorted(counts.items()) if uses >= LEAST})
    return Uses(sorted(programs), date.today().isoformat(), kept)


def main() -> int:
    """Write the table of the programs that are named."""
    programs = {}
    for argument in sys.argv[1:]:
        name, equals, folder = argument.partition("=")
        if not equals or not Path(folder).is_dir():
            print(f"uses: NAME=FOLDER is expected, got '{argument}'", file=sys.stderr)
            return 2
        programs[name] = Path(folder)
    if not programs:
        print("uses: name some programs, as NAME=FOLDER", file=sys.stderr)
        return 2
    table = make(programs)
    content = {"sources": table.sources, "date": table.date, "counts": dict(table.counts)}
    TABLE.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")
    print(f"{len(table.counts)} names in {TABLE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
