"""What a build for a torch, a Python and a platform needs of others, in one folder that is kept: parts of torch's wheel
and Python's headers.

Layout below the folder, `root`: downloads/, python/cp311/include, and for each platform and torch a folder `target`, as
manylinux_2_28_x86_64/2.13.0/, with torch/, torchgen/, and cp311/ with the libtorch_python of that Python.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Versions and hashes of what is downloaded, as pip reads them; .ci/pins.py writes them.
PINS = Path(__file__).resolve().parent / "pins"

#: Of torch's wheel: what is compiled and linked against. The CUDA kernels, most of a CUDA build, are not.
_PARTS = re.compile(
    r"torch/include/.*|torch/version\.py|torchgen/.*|torch/lib/(lib(c10|shm|torch|torch_cpu)\.so|[^/]*\.dylib)"
)


class MissingError(Exception):
    """Something that the build needs cannot be had here; the text says what, and how to get it."""


@dataclass(frozen=True)
class TargetPython:
    """A release of Python to build for."""

    tag: str  #: as in wheels: cp311
    headers: Path  #: of the same release, on this machine


def target_python(name: str) -> TargetPython:
    """`name` is a command that runs a Python of this machine, or the folder of a Python's headers."""
    if Path(name).is_dir():
        folder = Path(name)
    else:
        question = "import sysconfig; print(sysconfig.get_path('include'))"
        try:
            answer = subprocess.run([name, "-c", question], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise MissingError(f"{name} does not run ({error}): its headers are needed to build for it") from None
        folder = Path(answer.strip())
    if not (folder / "Python.h").exists():
        raise MissingError(f"{name} has no Python.h in {folder}: install its development files")
    text = (folder / "patchlevel.h").read_text()
    major, minor = (re.findall(rf"#define PY_{part}_VERSION\s+(\d+)", text)[0] for part in ("MAJOR", "MINOR"))
    return TargetPython(f"cp{major}{minor}", folder)


def pip(*arguments: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if process.returncode != 0:
        raise MissingError(f"pip {' '.join(arguments)} failed:\n{process.stderr.strip()}")


def check_pinned(path: Path, pins: str) -> None:
    """Throws where a file is none of those that wheels/pins/ names, and then removes it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() not in pinned_hashes(pins):
        path.unlink()
        raise MissingError(
            f"{path} was none of the files in wheels/pins/{pins}.txt (its SHA-256 was {digest.hexdigest()}) and has "
            "been removed: run again to download it"
        )


def pinned_hashes(pins: str) -> set[str]:
    """Of the files that one of wheels/pins/ names."""
    return set(re.findall(r"sha256:([0-9a-f]{64})", (PINS / f"{pins}.txt").read_text()))


def take_torch(root: Path, platform: str, torch: str, python: TargetPython) -> Path:
    """The target, with the parts of torch that all Pythons share, and this Python's libtorch_python."""
    target = root / platform / torch
    own = target / python.tag
    if own.exists():
        return target
    fresh = own.with_suffix(".fresh")
    fresh.mkdir(parents=True, exist_ok=True)
    wheel_path = _download(root / "downloads", platform, torch, python.tag)
    with zipfile.ZipFile(wheel_path) as wheel:
        if not (target / "torchgen").exists():
            shared = target / "shared.fresh"
            wheel.extractall(shared, [name for name in wheel.namelist() if _PARTS.fullmatch(name)])
            for part in ("torch", "torchgen"):
                (shared / part).rename(target / part)
            shared.rmdir()
        (library,) = (name for name in wheel.namelist() if re.fullmatch(r"torch/lib/libtorch_python\.(so|dylib)", name))
        (fresh / Path(library).name).write_bytes(wheel.read(library))
    fresh.rename(own)
    wheel_path.unlink()
    return target


def _download(folder: Path, platform: str, torch: str, tag: str) -> Path:
    path = folder / f"torch-{torch}-{tag}-{tag}-{platform}.whl"
    pins = f"torch-{torch}"
    if not path.exists():
        pip(
            "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), "--platform", platform,
            "--implementation", "cp", "--abi", tag, "--python-version", f"3.{tag.removeprefix('cp3')}",
            "--require-hashes", "--requirement", str(PINS / f"{pins}.txt"),
        )  # fmt: skip
    check_pinned(path, pins)  # also what an interrupted run has left
    return path


def take_headers(root: Path, python: TargetPython) -> Path:
    """The folder of the Python's headers, the same for each platform.

    They are Linux's: its pyconfig.h is right for 64 bits, and pymacconfig.h, which every release ships, corrects the
    sizes of types for macOS.
    """
    include = root / "python" / python.tag / "include"
    if not include.exists():
        fresh = include.with_suffix(".fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(python.headers, fresh)
        # Debian keeps it apart, and a forwarder in its place.
        own = python.headers.parent / "x86_64-linux-gnu" / python.headers.name / "pyconfig.h"
        if own.exists():
            shutil.copy2(own, fresh)
        fresh.rename(include)
    return include


def python_names(headers: Path) -> set[str]:
    """The functions and variables of Python's C interface, also those that PY_SSIZE_T_CLEAN puts in others' places."""
    declared = re.compile(r"PyAPI_(?:FUNC|DATA)\([^;]*?\)\s*(\w+)|#define\s+\w+\s+(_\w+_SizeT)\b")
    texts = (header.read_text("utf-8", "replace") for header in headers.rglob("*.h"))
    return {first or second for text in texts for first, second in declared.findall(text)}
