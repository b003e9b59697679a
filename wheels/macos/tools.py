"""What a build for macOS needs besides torch and Python's headers: compiler, linker, stubs of the system's libraries.

No file of Apple's is needed. The stubs hold what torch's own dylibs import from the system: what links against them
exists on every macOS that can load this torch.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from wheels.macos.mach_o import MachO
from wheels.sources import PINS, MissingError, check_pinned, pip, python_names

ZIG = "0.17.0"
#: The oldest lld that reads the exports of today's dylibs, and Debian 12's package of it for x86-64.
LLD = 15
LLD_VERSION = "1:15.0.6-4+b1"
SYSTEM_LIBRARIES = {"libc++": "/usr/lib/libc++.1.dylib", "libSystem": "/usr/lib/libSystem.B.dylib"}


def lay_out(tools: Path, target: Path, headers: Path) -> None:
    """Bring everything that is not there yet into `tools`, `target` and the folder above Python's headers."""
    tools.mkdir(parents=True, exist_ok=True)
    _install_zig(tools)
    _link_lld(tools)
    _write_stubs(target)
    names = sorted(python_names(headers))
    (headers.parent / "python_api.rsp").write_text("".join(f"-U _{name}\n" for name in names))


def _install_zig(tools: Path) -> None:
    if not (tools / f"zig/ziglang-{ZIG}.dist-info").exists():
        shutil.rmtree(tools / "zig", ignore_errors=True)
        pins = str(PINS / "ziglang.txt")
        pip("install", "--no-deps", "--target", str(tools / "zig"), "--require-hashes", "--requirement", pins)


def _link_lld(tools: Path) -> None:
    """`ld64.lld` in `tools`: the system's, else Debian's package, unpacked here."""
    link = tools / "ld64.lld"
    if link.exists():
        return
    names = ["ld64.lld", *(f"ld64.lld-{release}" for release in range(LLD, LLD + 15))]
    installed = next((path for name in names if (path := shutil.which(name)) and _lld_release(path) >= LLD), None)
    if installed is None:
        _unpack_lld(tools / "lld")
        installed = f"lld/usr/lib/llvm-{LLD}/bin/ld64.lld"
        if _lld_release(str(tools / installed)) < LLD:
            raise MissingError(f"{tools / installed} does not run: install libllvm{LLD}, or lld-{LLD} as a whole")
    link.symlink_to(installed)


def _unpack_lld(folder: Path) -> None:
    package = f"lld-{LLD}"

    def run(*command: str) -> None:
        if shutil.which(command[0]) is None or subprocess.run(command, cwd=folder, check=False).returncode != 0:
            raise MissingError(
                f"no ld64.lld of release {LLD} or later, and Debian's package {package} could not be unpacked "
                f"({' '.join(command)}): install {package}"
            )

    folder.mkdir(exist_ok=True)
    run("apt-get", "-qq", "download", f"{package}={LLD_VERSION}")
    (file,) = folder.glob(f"{package}_*.deb")
    check_pinned(file, "lld")
    run("dpkg-deb", "-x", file.name, ".")


def _lld_release(path: str) -> int:
    process = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    release = re.search(r"LLD (\d+)", process.stdout)
    return int(release[1]) if release is not None else 0


def _write_stubs(target: Path) -> None:
    stubs = target / "stubs"
    if all((stubs / f"{name}.tbd").exists() for name in SYSTEM_LIBRARIES):
        return
    stubs.mkdir(exist_ok=True)
    # libomp is another project's, and needs more.
    dylibs = [MachO(path) for path in sorted((target / "torch/lib").glob("*.dylib")) if path.stem != "libomp"]
    for name, install_name in SYSTEM_LIBRARIES.items():
        strong: set[str] = set()
        weak: set[str] = set()
        for dylib in dylibs:
            for symbol, undefined in dylib.undefined.items():
                if undefined.library == install_name:
                    # operator new and delete, which programs may replace, even where torch binds to them plainly.
                    is_weak = undefined.weak_definition or re.match(r"__Z(n[wa]m|d[la]Pv)", symbol)
                    (weak if is_weak else strong).add(symbol)
        (stubs / f"{name}.tbd").write_text(_stub(install_name, strong - weak, weak))


def _stub(install_name: str, strong: set[str], weak: set[str]) -> str:
    """A text stub of release 4, as Apple's SDK has them."""

    def listed(symbols: set[str]) -> str:
        return ", ".join(f"'{symbol}'" for symbol in sorted(symbols))

    return (
        "--- !tapi-tbd\ntbd-version: 4\ntargets: [ arm64-macos ]\n"
        f"install-name: '{install_name}'\ncurrent-version: 1\ncompatibility-version: 1\nexports:\n"
        f"  - targets: [ arm64-macos ]\n    symbols: [ {listed(strong)} ]\n"
        + (f"    weak-symbols: [ {listed(weak)} ]\n" if weak else "")
        + "...\n"
    )


def stub_names(path: Path) -> set[str]:
    """What a stub exports."""
    lists = re.findall(r"symbols: \[(.*)\]", path.read_text())
    return {name for names in lists for name in re.findall(r"'([^']+)'", names)}
