"""What must hold of a finished extension so that every Linux since glibc 2.28 loads it: seen in the file."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from wheels.sources import ROOT, python_names

RUNPATH = "$ORIGIN/../../../torch/lib"
#: The newest versions of symbols that manylinux_2_28 allows.
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}
_SYSTEM = re.compile(r"lib(stdc\+\+|gcc_s|m|pthread|dl|c)\.so\.\d|ld-linux[\w-]*\.so\.\d")
_TORCH = ("libtorch_python.so", "libtorch_cpu.so", "libtorch.so", "libc10.so", "libshm.so")
_MACHINES = {"x86_64": "Advanced Micro Devices X86-64", "aarch64": "AArch64"}


@dataclass(frozen=True)
class Symbol:
    """A line of a table of dynamic symbols."""

    name: str
    version: str  #: as GLIBC_2.17; empty where it has none
    defined: bool
    weak: bool


def faults_of(extension: Path, target: Path, tag: str, headers: Path, machine: str) -> list[str]:
    """Everything wrong with the extension for the Python `tag`; `target` as wheels/sources.py lays it out."""
    try:
        dynamic = _readelf("-h", "-l", "-d", extension)
    except ValueError as error:
        return [str(error)]
    libraries = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    symbols = symbols_of(extension)
    facts = {
        f"is for {machine}": re.findall(r"Machine:\s+(.*)", dynamic) == [_MACHINES[machine]],
        f"torch is looked for in {RUNPATH} alone": re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", dynamic) == [RUNPATH],
        "exports its init function alone": {one.name for one in symbols if one.defined} == {"PyInit__C"},
        "has no symbols of its own left": ".symtab" not in _readelf("-S", extension),
        "is bound when it is loaded, and read-only then": "GNU_RELRO" in dynamic and " NOW" in dynamic,
        "names no folder of the machine that built it": not any(
            str(folder).encode() in extension.read_bytes() for folder in (ROOT, target)
        ),
    }
    foreign = sorted(name for name in libraries if name not in _TORCH and not _SYSTEM.fullmatch(name))
    return [
        *(f"not so: {fact}" for fact, holds in facts.items() if not holds),
        *(f"loads {name}, which neither torch nor the system brings" for name in foreign),
        *_symbol_faults(symbols, target, tag, headers),
    ]


def _symbol_faults(symbols: list[Symbol], target: Path, tag: str, headers: Path) -> list[str]:
    torchs = [target / tag / _TORCH[0], *(target / "torch/lib" / name for name in _TORCH[1:])]
    known = {one.name for path in torchs for one in symbols_of(path) if one.defined} | python_names(headers)
    undefined = [one for one in symbols if not one.defined]
    too_new = [one for one in undefined if one.version and not is_allowed(one.version)]
    absent = [one for one in undefined if not (one.version or one.weak or one.name in known)]
    return [
        *(f"{one.name} of {one.version} is newer than manylinux_2_28" for one in too_new),
        *(f"{one.name} is neither in torch nor in Python" for one in absent),
    ]


def is_allowed(version: str) -> bool:
    """Whether manylinux_2_28 has this version of a symbol, as GLIBC_2.17."""
    family, _, number = version.partition("_")
    if not re.fullmatch(r"\d+(\.\d+)*", number):
        return family in NEWEST  # as CXXABI_FLOAT128
    return family in NEWEST and tuple(map(int, number.split("."))) <= NEWEST[family]


def symbols_of(path: Path) -> list[Symbol]:
    """The dynamic symbols of a library; a defined one's version is of no interest here."""
    found = []
    for line in _readelf("--dyn-syms", path).splitlines():
        # Num: Value Size Type Bind Vis Ndx Name@VERSION (number)
        words = line.split()
        if len(words) >= 8 and words[0][:-1].isdigit() and words[4] in ("GLOBAL", "WEAK", "UNIQUE"):
            name, _, version = words[7].partition("@")
            found.append(Symbol(name, version.lstrip("@"), words[6] != "UND", words[4] == "WEAK"))
    return found


def _readelf(*arguments: str | Path) -> str:
    command = ["readelf", "-W", *map(str, arguments)]
    english = {**os.environ, "LC_ALL": "C"}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=english)
    if process.returncode != 0 or "Error:" in process.stderr:
        raise ValueError(f"{arguments[-1]} is no ELF file: {process.stderr.strip()}")
    return process.stdout
