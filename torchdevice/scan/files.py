"""What a scan reads: the files of a folder, one file, or those of an installed package, which is not imported."""

from __future__ import annotations

import difflib
import importlib.util
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

PYTHON, NOTEBOOK, REQUIREMENTS, PROJECT, CPP = "Python", "notebook", "requirements", "project", "C++"

_KINDS = {".py": PYTHON, ".ipynb": NOTEBOOK}
_KINDS |= dict.fromkeys((".cu", ".cuh", ".cpp", ".cc", ".cxx", ".c", ".h", ".hpp", ".hh"), CPP)
_NAMES = {"requirements*.txt": REQUIREMENTS, "pyproject.toml": PROJECT}

#: Folders of other people's code, and of what was made.
_PASSED_OVER = {"node_modules", "site-packages", "__pycache__", "build", "dist"}


class TargetError(Exception):
    """There is nothing to scan; the message says why, and what may be meant."""


@dataclass(frozen=True)
class Source:
    """One file to be read."""

    path: Path
    kind: str
    root: Path  #: the folder that was asked for

    @property
    def shown(self) -> str:
        """As people name it: relative to the current folder where it is below that."""
        try:
            return self.path.resolve().relative_to(Path.cwd().resolve()).as_posix()
        except ValueError:
            return self.path.as_posix()


def find(target: str) -> list[Source]:
    """The files of a folder, file or installed package, sorted.

    Raises:
        TargetError: there is no such thing, or nothing in it that can be read.
    """
    path = Path(target)
    if path.is_file():
        kind = kind_of(path)
        if kind is None:
            raise TargetError(f"{target}: neither Python, a notebook, requirements nor C++")
        return [Source(path, kind, path.parent)]
    if path.is_dir() and target:
        return _below(path, target)
    if path.exists() and target:
        raise TargetError(f"{target}: neither a file nor a folder")
    return _of_package(target)


def kind_of(path: Path) -> str | None:
    """How a file is read; None where it is not."""
    by_name = (kind for pattern, kind in _NAMES.items() if fnmatchcase(path.name, pattern))
    return next(by_name, None) or _KINDS.get(path.suffix)


def _below(folder: Path, target: str) -> list[Source]:
    sources = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_passed_over(Path(parent, name)))
        for name in sorted(names):
            path = Path(parent, name)
            kind = kind_of(path)
            if kind is not None and path.is_file():
                sources.append(Source(path, kind, folder))
    if not sources:
        raise TargetError(f"{target}: nothing in this folder can be read: no Python, notebook, requirements or C++")
    return sources


def _is_passed_over(folder: Path) -> bool:
    return folder.name in _PASSED_OVER or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists()


def _of_package(name: str) -> list[Source]:
    if "/" in name or "\\" in name or name.endswith((".py", ".ipynb")):
        raise TargetError(f"{name}: no such file or folder")
    for module in [name, *_modules_of(name)]:
        places = _places(module)
        if places:
            return [source for place in places for source in find(str(place))]
    known = packages_distributions()
    names = {*known, *(one for distributions in known.values() for one in distributions)}
    near = difflib.get_close_matches(name, sorted(names), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise TargetError(f"{name}: no file, no folder, and no package that is installed here{hint}")


def _modules_of(name: str) -> list[str]:
    """The packages that a distribution of that name brings."""
    try:
        metadata = distribution(name).metadata
    except (PackageNotFoundError, ValueError):
        return []
    return sorted(module for module, owners in packages_distributions().items() if metadata["Name"] in owners)


def _places(module: str) -> list[Path]:
    """Where a package or module lies; finding one that has no dot in its name imports nothing."""
    if not module.isidentifier():
        return []
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin is not None and spec.origin.endswith(".py") else []
