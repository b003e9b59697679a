"""Builds, checks and packs the wheels for macOS: `python -m macos.wheel --python python3.11 python3.12`.

The build folder is kept: of the sources only those that include Python.h are compiled once for each Python.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from wheel.wheelfile import WheelFile

from macos.check import faults_of
from macos.mach_o import MachO
from macos.sysroot import PLATFORM, ROOT, MissingError, TargetPython, lay_out, target_python

#: Exit status where a compiler, linker, torch or headers cannot be had.
NOTHING_TO_BUILD_WITH = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m macos.wheel", description="Wheels for macOS, built on Linux")
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="COMMAND",
                        help="Pythons of this machine for whose releases to build (default: this one)")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="compilers at a time")
    parser.add_argument("--root", type=Path, default=ROOT / "build/macos", help="folder for downloads and objects")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the wheels")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    try:
        pythons = [target_python(command) for command in arguments.python]
        lay_out(root, pythons)
        extensions = build(root, pythons, arguments.jobs)
    except (MissingError, subprocess.CalledProcessError) as error:
        print(f"wheel-macos: {error}", file=sys.stderr)
        return NOTHING_TO_BUILD_WITH if isinstance(error, MissingError) else 2
    output = arguments.output.resolve()
    wheels = [deliver(extension, python, root, output) for python, extension in zip(pythons, extensions, strict=True)]
    return 0 if all(wheels) else 1


def build(root: Path, pythons: list[TargetPython], jobs: int) -> list[Path]:
    """The extension for each Python."""
    folder = root / "cmake"
    # CMake reads a toolchain's flags only where it has no cache. The objects stay.
    (folder / "CMakeCache.txt").unlink(missing_ok=True)
    # No backend may activate itself in the torch that is asked for its list of operators.
    environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "ZIG_GLOBAL_CACHE_DIR": str(root / "zig-cache")}
    configure = [
        "cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake/macos-arm64.cmake'}",
        f"-DMACOS_ROOT={root}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-DTORCHDEVICE_PYTHONS={';'.join(python.tag for python in pythons)}",
    ]  # fmt: skip
    for command in (configure, ["cmake", "--build", str(folder), "--parallel", str(jobs)]):
        subprocess.run(command, check=True, env=environment)
    return [next(folder.glob(f"engines/*/_C.{python.soabi}.so")) for python in pythons]


def deliver(extension: Path, python: TargetPython, root: Path, output: Path) -> Path | None:
    """The wheel, or None for an extension that macOS would not load."""
    faults = faults_of(extension, root, python.tag)
    for fault in faults:
        print(f"{extension.name}: {fault}", file=sys.stderr)
    if faults:
        return None
    print(f"{extension.name}: {len(MachO(extension).undefined)} symbols found, signature and load commands fine")
    path = pack(extension, python, root, output)
    print(path)
    return path


def pack(extension: Path, python: TargetPython, root: Path, output: Path) -> Path:
    """The wheel: what setuptools puts into Linux's, with the other extension and tag."""
    content = root / "wheel" / python.tag
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir(parents=True)
    for command in (
        ["egg_info", "--egg-base", str(root / "wheel"), "build_py", "--build-lib", str(content)],
        ["egg_info", "--egg-base", str(root / "wheel"), "dist_info", "--output-dir", str(content)],
    ):
        subprocess.run([sys.executable, "setup.py", "-q", *command], cwd=ROOT, check=True)
    folder = content / "torchdevice/engines" / extension.parent.name
    folder.mkdir(parents=True)
    for file in (extension, extension.with_suffix(".torch")):
        shutil.copy2(file, folder)
    (information,) = content.glob("*.dist-info")
    tag = f"{python.tag}-{python.tag}-{PLATFORM}"
    (information / "WHEEL").write_text(
        f"Wheel-Version: 1.0\nGenerator: torchdevice macos.wheel\nRoot-Is-Purelib: false\nTag: {tag}\n"
    )
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{information.name.removesuffix('.dist-info')}-{tag}.whl"
    with WheelFile(path, "w") as archive:
        archive.write_files(content)
    return path


if __name__ == "__main__":
    sys.exit(main())
