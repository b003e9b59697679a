"""What must hold of a finished extension so that macOS loads it: seen in the file, without running it."""

from __future__ import annotations

from pathlib import Path

from wheels.macos.mach_o import BUNDLE, DYNAMIC_LOOKUP, PLATFORM_MACOS, MachO
from wheels.macos.tools import SYSTEM_LIBRARIES, stub_names
from wheels.sources import python_names

RPATH = "@loader_path/../../../torch/lib"
LEAST_RELEASE = (14, 0)  #: of macOS, as torch's wheel
#: For newer SDKs dyld asks for flags of segments that lld 15 does not set.
NEWEST_SDK = (15, 0)


def faults_of(extension: Path, target: Path, tag: str, headers: Path) -> list[str]:
    """Everything wrong with the extension for the Python `tag`; `target` as wheels/sources.py lays it out."""
    try:
        file = MachO(extension)
    except ValueError as error:
        return [str(error)]
    return [*_command_faults(file), *_symbol_faults(file, _exports(target, tag, headers)), *file.signature_faults()]


def _command_faults(file: MachO) -> list[str]:
    facts = {
        "file type is a bundle": file.file_type == BUNDLE,
        "platform is macOS": file.platform == PLATFORM_MACOS,
        f"runs from macOS {LEAST_RELEASE} on": file.least_release == LEAST_RELEASE,
        f"SDK is at most {NEWEST_SDK}": file.sdk <= NEWEST_SDK,
        f"torch is looked for in {RPATH} alone": file.rpaths == [RPATH],
        "exports its init function": "_PyInit__C" in file.exports,
    }
    return [f"not so: {fact}" for fact, holds in facts.items() if not holds]


def _exports(target: Path, tag: str, headers: Path) -> dict[str, set[str]]:
    """What can be had, by the name of the library as it is asked for."""
    shared = [path for path in (target / "torch/lib").glob("lib*.dylib") if path.stem != "libomp"]
    found = {f"@rpath/{path.name}": MachO(path).exports for path in (*shared, target / tag / "libtorch_python.dylib")}
    for name, install_name in SYSTEM_LIBRARIES.items():
        found[install_name] = stub_names(target / f"stubs/{name}.tbd")
    found[DYNAMIC_LOOKUP] = {f"_{name}" for name in python_names(headers)}
    return found


def _symbol_faults(file: MachO, exports: dict[str, set[str]]) -> list[str]:
    unknown = [f"loads {library}, which torch does not bring" for library in file.libraries if library not in exports]
    return unknown + [
        f"{symbol} is not in {undefined.library}"
        for symbol, undefined in file.undefined.items()
        if symbol not in exports.get(undefined.library, ())
    ]
