"""Compiles the engines for one torch and one platform: of the sources only those that include Python.h once for each
Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wheels.platforms import Platform
from wheels.sources import ROOT, TargetPython, take_headers, take_torch


def build(root: Path, platform: Platform, torch: str, pythons: Sequence[TargetPython], jobs: int) -> list[Path]:
    """The engine for each Python. What was compiled before is kept in `root`."""
    target = root / platform.tag / torch
    for python in pythons:
        take_torch(root, platform.tag, torch, python)
        platform.lay_out(root / "tools", target, take_headers(root, python))
    folder = target / "cmake"
    # CMake reads a toolchain's flags only where it has no cache. The objects stay.
    (folder / "CMakeCache.txt").unlink(missing_ok=True)
    configure = [
        "cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-DTORCH_ROOT={target / 'torch'}",
        f"-DWHEELS_ROOT={root}",
        f"-DTORCHDEVICE_PYTHONS={';'.join(python.tag for python in pythons)}",
    ]  # fmt: skip
    if platform.toolchain is not None:
        configure.append(f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / platform.toolchain}")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(root / "tools/zig-cache")}
    for command in (configure, ["cmake", "--build", str(folder), "--parallel", str(jobs)]):
        subprocess.run(command, check=True, env=environment)
    return [next(folder.glob(f"engines/*/_C.{platform.soabi(python.tag)}.so")) for python in pythons]


def faults_of(engine: Path, root: Path, platform: Platform, torch: str, python: TargetPython) -> list[str]:
    """Why the engine would not load there; empty if it would."""
    return platform.faults_of(engine, root / platform.tag / torch, python.tag, take_headers(root, python))
