"""The engine, the compiled part of torchdevice: finds the one for the torch in use and makes it `torchdevice._C`.

Each minor of torch has a C++ interface of its own, so each has its own engine: engines/torch2_13/_C.<ABI>.so. The file
of the same name that ends in .torch says which torch that was built for. Releases of one minor share their engine,
whatever their local version (2.13.0+cpu, 2.13.1+cu130). What lies between two releases has an interface that nobody
promises: a pre-release, and a torch built from other sources, takes an engine that was built for exactly that version.
"""

from __future__ import annotations

import importlib.util
import re
import struct
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

MODULE = "torchdevice._C"
ENGINES = Path(__file__).parent / "engines"
#: Of this Python on this platform, as .cpython-311-x86_64-linux-gnu.so
SUFFIX = EXTENSION_SUFFIXES[0]

#: Of the header of a 64-bit ELF file: where the table of sections starts, the size and the number of its rows.
_ELF = struct.Struct("<40xQ10xHH2x")
_RELEASE = re.compile(r"(\d+\.\d+)\.\d+(\.post\d+)?(\+.*)?")

# pip would take another torch without the first option, the wheel that is here without the second, and one that it
# built for another torch without the third.
BUILD = "pip install --no-deps --force-reinstall --no-cache-dir --no-binary torchdevice-ext torchdevice-ext"


class EngineError(ImportError):
    """There is no engine for this torch and this Python; the message says why, and what to do instead."""


def load(torch_version: str) -> ModuleType:
    """Make the engine for this torch `torchdevice._C`, once; torch has to be imported."""
    loaded = sys.modules.get(MODULE)
    if loaded is not None:
        return loaded
    path = find(torch_version)
    damage = _damage(path)
    if damage is not None:
        raise EngineError(
            f"its engine for torch {minor_of(torch_version)} does not load ({path}: {damage}); reinstall "
            "torchdevice-ext"
        )
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise EngineError(
            f"its engine for torch {minor_of(torch_version)} does not load ({error}); reinstall torchdevice-ext"
        ) from error
    sys.modules[MODULE] = module
    sys.modules["torchdevice"]._C = module  # type: ignore[attr-defined]
    return module


def find(torch_version: str) -> Path:
    """The file of the engine for this torch."""
    minor = minor_of(torch_version)
    path = ENGINES / folder_of(minor) / f"_C{SUFFIX}"
    built_for = path.with_suffix(".torch")
    if not (path.is_file() and built_for.is_file()):
        raise EngineError(_reason(torch_version, path))
    exact = built_for.read_text().strip()
    if exact != torch_version and not (is_release(torch_version) and is_release(exact)):
        raise EngineError(
            f"its engine for torch {minor} was built for torch {exact} and this is torch {torch_version}: only "
            f"releases share one. Build it for this torch: {BUILD}"
        )
    return path


def _damage(path: Path) -> str | None:
    """What is missing at the end of an ELF file, whose header says where that is; None for any other file.

    Linux maps such a file all the same, and the process dies where it reads what is not there. macOS looks by itself.
    """
    with path.open("rb") as file:
        header = file.read(_ELF.size)
        if len(header) < _ELF.size or not header.startswith(b"\x7fELF"):
            return None
        # The table of sections comes last. Its first row is zeros, and so is what a full disk left unwritten.
        start, size, count = _ELF.unpack(header)
        missing = int(start + size * count) - path.stat().st_size
        if missing > 0:
            return f"the last {missing} bytes are missing"
        file.seek(start + size)
        rows = file.read(size * (count - 1))
    return None if rows.strip(b"\0") else "its end is zeros"


def is_release(torch_version: str) -> bool:
    """Whether this is a release, whoever built it, and no pre-release and no state between two of them."""
    return _RELEASE.fullmatch(torch_version) is not None


def minor_of(torch_version: str) -> str:
    """2.13, of 2.13.0+cpu."""
    return ".".join(torch_version.split(".")[:2])


def folder_of(minor: str) -> str:
    """Of the engine for a minor of torch, below engines/."""
    return f"torch{minor.replace('.', '_')}"


def _reason(torch_version: str, path: Path) -> str:
    """Why there is no such engine, and what to do."""
    minor = minor_of(torch_version)
    if path.parent.is_dir():
        others = sorted({file.name.removeprefix("_C") for file in path.parent.glob("_C.*.so")} - {SUFFIX})
        if not others or path.exists():
            return f"its engine for torch {minor} is damaged or missing ({path}); reinstall torchdevice-ext"
        return (
            f"its engine for torch {minor} is of another Python or platform ({', '.join(others)}; this one needs "
            f"{SUFFIX}); reinstall torchdevice-ext with this Python"
        )
    minors = [name.removeprefix("torch").replace("_", ".") for name in _folders()]
    if not minors:
        return f"it has not been built ({ENGINES} holds no engine); reinstall torchdevice-ext"
    return (
        f"it has engines for torch {', '.join(minors)} and this is torch {torch_version}; install one of these, or "
        f"build it for this torch: {BUILD}"
    )


def _folders() -> list[str]:
    """Those with an engine for this Python, in the order of torch's minors."""
    names = {path.parent.name for path in ENGINES.glob(f"torch*/_C{SUFFIX}")}
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
