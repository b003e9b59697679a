"""What must hold of a finished extension so that macOS loads it: seen in the file, without running it."""

from __future__ import annotations

from pathlib import Path

from macos.mach_o import BUNDLE, DYNAMIC_LOOKUP, PLATFORM_MACOS, MachO
from macos.sysroot import SYSTEM_LIBRARIES, python_names, stub_names

RPATH = "@loader_path/../../../torch/lib"
LEAST_RELEASE = (14, 0)  #: of macOS, as torch's wheel
#: For newer SDKs dyld asks for flags of segments that lld 15 does not set.
NEWEST_SDK = (15, 0)


def faults_of(extension: Path, root: Path, tag: str) -> list[str]:
    """Everything wrong with the extension for the Python `tag`; `root` as macos/sysroot.py lays it out."""
    try:
        file = MachO(extension)
    except ValueError as error:
        return [str(error)]
    return [*_command_faults(file), *_symbol_faults(file, _exports(root, tag)), *file.signature_faults()]


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


def _exports(root: Path, tag: str) -> dict[str, set[str]]:
    """What can be had, by the name of the library as it is asked for."""
    dylibs = [*(root / "torch/lib").glob("lib*.dylib"), root / tag / "libtorch_python.dylib"]
    found = {f"@rpath/{path.name}": MachO(path).exports for path in dylibs if path.stem != "libomp"}
    for name, install_name in SYSTEM_LIBRARIES.items():
        found[install_name] = stub_names(root / f"stubs/{name}.tbd")
    found[DYNAMIC_LOOKUP] = {f"_{name}" for name in python_names(root / tag / "include")}
    return found


def _symbol_faults(file: MachO, exports: dict[str, set[str]]) -> list[str]:
    unknown = [f"loads {library}, which torch does not bring" for library in file.libraries if library not in exports]
    return unknown + [
        f"{symbol} is not in {undefined.library}"
        for symbol, undefined in file.undefined.items()
        if symbol not in exports.get(undefined.library, ())
    ]
