"""Lays out what a build for macOS needs, in one folder that is kept: a compiler, a linker, torch's wheel for macOS,
stubs of the system's libraries, Python's headers.

No file of Apple's is needed. The stubs hold what torch's own dylibs import from the system: what links against them
exists on every macOS that can load this torch.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from macos.mach_o import MachO

ROOT = Path(__file__).resolve().parent.parent
#: The torch that pyproject.toml builds with, as 2.13.0.
TORCH = re.findall(r'"torch==([^"]+)"', (ROOT / "pyproject.toml").read_text())[0]
ZIG = "0.17.0"
#: macOS's name in wheels: the only one that torch's has.
PLATFORM = "macosx_14_0_arm64"
#: The oldest lld that reads the exports of today's dylibs.
LLD = 15
#: What a build takes of torch's wheel.
TORCH_PARTS = ("torch/include/", "torch/lib/", "torch/version.py")
SYSTEM_LIBRARIES = {"libc++": "/usr/lib/libc++.1.dylib", "libSystem": "/usr/lib/libSystem.B.dylib"}


class MissingError(Exception):
    """Something that the build needs cannot be had here; the text says what, and how to get it."""


@dataclass(frozen=True)
class TargetPython:
    """A release of Python to build for."""

    tag: str  #: as in wheels: cp311
    headers: Path  #: of the same release, on this machine

    @property
    def soabi(self) -> str:
        """As in the names of its extensions."""
        return f"{self.tag.replace('cp', 'cpython-')}-darwin"


def lay_out(root: Path, pythons: list[TargetPython]) -> None:
    """Bring everything into `root` that is not there yet."""
    root.mkdir(parents=True, exist_ok=True)
    _install_zig(root)
    _link_lld(root)
    for python in pythons:
        _unpack_torch(root, python)
        _take_headers(root, python)
    _write_stubs(root)


def target_python(command: str) -> TargetPython:
    """The headers of the Python that `command` runs."""
    question = "import json, sys, sysconfig; print(json.dumps([sys.version_info[:2], sysconfig.get_path('include')]))"
    try:
        answer = subprocess.run([command, "-c", question], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingError(
            f"{command} does not run ({error}): its headers are needed to build for its release"
        ) from None
    (major, minor), include = json.loads(answer)
    if not (Path(include) / "Python.h").exists():
        raise MissingError(f"{command} has no Python.h in {include}: install its development files")
    return TargetPython(f"cp{major}{minor}", Path(include))


def _pip(*arguments: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if process.returncode != 0:
        raise MissingError(f"pip {' '.join(arguments)} failed:\n{process.stderr.strip()}")


def _install_zig(root: Path) -> None:
    if not (root / f"zig/ziglang-{ZIG}.dist-info").exists():
        shutil.rmtree(root / "zig", ignore_errors=True)
        _pip("install", "--no-deps", "--target", str(root / "zig"), f"ziglang=={ZIG}")


def _link_lld(root: Path) -> None:
    """`ld64.lld` in `root`: the system's, else Debian's package, unpacked here."""
    link = root / "ld64.lld"
    if link.exists():
        return
    names = ["ld64.lld", *(f"ld64.lld-{release}" for release in range(LLD, LLD + 15))]
    installed = next((path for name in names if (path := shutil.which(name)) and _lld_release(path) >= LLD), None)
    if installed is None:
        package = f"lld-{LLD}"
        unpacked = root / "lld"
        unpacked.mkdir(exist_ok=True)
        for command in (["apt-get", "-qq", "download", package], ["sh", "-c", f"dpkg-deb -x {package}_*.deb ."]):
            if shutil.which(command[0]) is None or subprocess.run(command, cwd=unpacked, check=False).returncode != 0:
                raise MissingError(
                    f"no ld64.lld of release {LLD} or later, and Debian's package {package} could not be unpacked "
                    f"({' '.join(command)}): install {package}"
                )
        installed = f"lld/usr/lib/llvm-{LLD}/bin/ld64.lld"
        if _lld_release(str(root / installed)) < LLD:
            raise MissingError(f"{root / installed} does not run: install libllvm{LLD}, or {package} as a whole")
    link.symlink_to(installed)


def _lld_release(path: str) -> int:
    process = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    release = re.search(r"LLD (\d+)", process.stdout)
    return int(release[1]) if release is not None else 0


def _unpack_torch(root: Path, python: TargetPython) -> None:
    """torch's headers and libraries once; libtorch_python for each Python."""
    own = root / python.tag
    if (own / "libtorch_python.dylib").exists():
        return
    downloads = root / "downloads"
    pattern = f"torch-{TORCH}-{python.tag}-{python.tag}-{PLATFORM}.whl"
    if not (downloads / pattern).exists():
        release = python.tag.removeprefix("cp3")
        _pip(
            "download", "--no-deps", "--only-binary=:all:", "--dest", str(downloads), "--platform", PLATFORM,
            "--implementation", "cp", "--python-version", f"3.{release}", f"torch=={TORCH}",
        )  # fmt: skip
    with zipfile.ZipFile(downloads / pattern) as wheel:
        names = wheel.namelist()
        if not (root / "torch/version.py").exists():
            wheel.extractall(root, [name for name in names if name.startswith(TORCH_PARTS)])
            _check_operators(wheel)
        own.mkdir(exist_ok=True)
        (own / "libtorch_python.dylib").write_bytes(wheel.read("torch/lib/libtorch_python.dylib"))


def _check_operators(wheel: zipfile.ZipFile) -> None:
    """The kernels are generated from the list of operators of the torch that runs here."""
    import torchgen

    name = "packaged/ATen/native/native_functions.yaml"
    if wheel.read(f"torchgen/{name}") != (Path(torchgen.__file__).parent / name).read_bytes():
        raise MissingError(f"torch {TORCH} for macOS has other operators than the torch installed here")


def _take_headers(root: Path, python: TargetPython) -> None:
    """Linux's headers: pymacconfig.h, which every release ships, corrects the sizes of types for macOS."""
    own = root / python.tag
    if not (own / "include").exists():
        shutil.copytree(python.headers, own / "include")
    names = sorted(python_names(own / "include"))
    (own / "python_api.rsp").write_text("".join(f"-U _{name}\n" for name in names))


def python_names(headers: Path) -> set[str]:
    """The functions and variables of Python's C interface, also those that PY_SSIZE_T_CLEAN puts in others' places."""
    declared = re.compile(r"PyAPI_(?:FUNC|DATA)\([^;]*?\)\s*(\w+)|#define\s+\w+\s+(_\w+_SizeT)\b")
    texts = (header.read_text("utf-8", "replace") for header in headers.rglob("*.h"))
    return {first or second for text in texts for first, second in declared.findall(text)}


def _write_stubs(root: Path) -> None:
    stubs = root / "stubs"
    if all((stubs / f"{name}.tbd").exists() for name in SYSTEM_LIBRARIES):
        return
    stubs.mkdir(exist_ok=True)
    # libomp is another project's, and needs more.
    dylibs = [MachO(path) for path in sorted((root / "torch/lib").glob("*.dylib")) if path.stem != "libomp"]
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
