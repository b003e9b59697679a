"""Which modules are the program's own: `import triton` beside a triton.py says nothing of Triton."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torchdevice.scan.files import PYTHON, Source


@dataclass(frozen=True)
class Own:
    """The program's own modules, as one of its files names them."""

    beside: frozenset[str]  #: first parts of names, as "triton"
    pairs: frozenset[str]  #: first two parts, as "grouped_gemm.kernels"

    def has(self, name: str) -> bool:
        """Whether a dotted name is that of one of them, or below it."""
        first, second = [*name.split("."), ""][:2]
        return first in self.beside or f"{first}.{second}" in self.pairs


class OwnModules:
    """The modules that the files of a scan find among themselves."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._beside: dict[Path, frozenset[str]] = {}
        self._pairs = frozenset(pair for source in sources if source.kind == PYTHON for pair in _pairs(source.path))

    def of(self, source: Source) -> Own:
        """As one file names them."""
        names: set[str] = set()
        for folder in source.path.parents:
            if folder == source.root or source.root in folder.parents:
                if folder not in self._beside:
                    self._beside[folder] = _modules_in(folder)
                names |= self._beside[folder]
        return Own(frozenset(names), self._pairs)


def _modules_in(folder: Path) -> frozenset[str]:
    """What programs in a folder find beside themselves; in a package they go by the package's name."""
    if (folder / "__init__.py").exists():
        return frozenset({folder.resolve().name})
    return frozenset(path.stem for path in folder.glob("*.py")) | {path.parent.name for path in folder.glob("*/*.py")}


def _pairs(path: Path) -> Iterable[str]:
    """A module with its folder, and that with its own: whoever imports these has put the folder into Python's path.

    Not of a folder "torch", which many have for what they do with torch.
    """
    first, second = path.parent.parent.name, path.parent.name
    return [f"{a}.{b}" for a, b in ((second, path.stem), (first, second)) if a != "torch"]
