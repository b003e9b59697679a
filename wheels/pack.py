"""Packs a wheel: the Python sources as setuptools packs them, and the engines for one Python and platform."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from wheel.wheelfile import WheelFile

from wheels.releases import torch_range
from wheels.sources import ROOT


def pack(engines: Mapping[str, Path], python: str, platform: str, scratch: Path, output: Path) -> Path:
    """The wheel for a Python such as cp311 and a platform; `engines` are by the torch that each was built for."""
    content = scratch / f"{python}-{platform}"
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir(parents=True)
    for command in (
        ["egg_info", "--egg-base", str(scratch), "build_py", "--build-lib", str(content)],
        ["egg_info", "--egg-base", str(scratch), "dist_info", "--output-dir", str(content)],
    ):
        # Without a torch, as it is not the one of this environment that the wheel requires.
        environment = {**os.environ, "TORCHDEVICE_TORCH": ""}
        subprocess.run([sys.executable, "setup.py", "-q", *command], cwd=ROOT, env=environment, check=True)
    for engine in engines.values():
        folder = content / "torchdevice/engines" / engine.parent.name
        folder.mkdir(parents=True)
        for file in (engine, engine.with_suffix(".torch")):
            shutil.copy2(file, folder)
    (information,) = content.glob("*.dist-info")
    _require(information / "METADATA", torch_range(engines))
    tag = f"{python}-{python}-{platform}"
    (information / "WHEEL").write_text(
        f"Wheel-Version: 1.0\nGenerator: torchdevice wheels\nRoot-Is-Purelib: false\nTag: {tag}\n"
    )
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{information.name.removesuffix('.dist-info')}-{tag}.whl"
    # The same file whenever and wherever it is packed.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    for file in content.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    with WheelFile(path, "w") as archive:
        archive.write_files(content)
    return path


def _require(metadata: Path, torch: str) -> None:
    """In place of the torchs of a whole release: those that there is an engine for."""
    lines = metadata.read_text().splitlines(keepends=True)
    (index,) = (index for index, line in enumerate(lines) if line.startswith("Requires-Dist: torch"))
    lines[index] = f"Requires-Dist: {torch}\n"
    metadata.write_text("".join(lines))
