"""Builds, checks and packs the wheels of a release: `python -m wheels --python python3.11 python3.12`.

Everything that was downloaded or compiled is kept, so that a run which was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from wheels.build import build, faults_of
from wheels.pack import pack
from wheels.platforms import PLATFORMS, Platform
from wheels.releases import TORCHS
from wheels.sources import ROOT, MissingError, TargetPython, target_python

#: Exit status where a compiler, linker, torch or headers cannot be had.
NOTHING_TO_BUILD_WITH = 3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m wheels", description="The wheels of a release, built on Linux")
    parser.add_argument("--platform", nargs="+", default=list(PLATFORMS), choices=PLATFORMS, metavar="PLATFORM",
                        help=f"of {', '.join(PLATFORMS)} (default: all)")  # fmt: skip
    parser.add_argument("--torch", nargs="+", default=list(TORCHS), choices=TORCHS, metavar="RELEASE",
                        help=f"torchs that a wheel has engines for, of {', '.join(TORCHS)} (all)")  # fmt: skip
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="PYTHON",
                        help="commands that run Pythons of this machine, or folders with a Python's headers: for whose "
                        "releases to build (default: this one)")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="compilers at a time")
    parser.add_argument("--root", type=Path, default=ROOT / "build/wheels", help="folder for downloads and objects")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the wheels")
    chosen = parser.parse_args(arguments)
    try:
        pythons = [target_python(name) for name in chosen.python]
        done = [
            release(PLATFORMS[name], chosen.torch, pythons, chosen.jobs, chosen.root.resolve(), chosen.output.resolve())
            for name in chosen.platform
        ]
    except (MissingError, subprocess.CalledProcessError) as error:
        print(f"wheels: {error}", file=sys.stderr)
        return NOTHING_TO_BUILD_WITH if isinstance(error, MissingError) else 2
    return 0 if all(done) else 1


def release(
    platform: Platform, torchs: list[str], pythons: list[TargetPython], jobs: int, root: Path, output: Path
) -> bool:
    """The wheels for one platform; False if an engine has a fault, and then the wheel is not packed."""
    engines: dict[str, dict[str, Path]] = {python.tag: {} for python in pythons}
    sound = True
    for torch in torchs:
        start = time.monotonic()
        served = [python for python in pythons if python.tag in TORCHS[torch]]
        for python, engine in zip(served, build(root, platform, torch, served, jobs) if served else [], strict=True):
            faults = faults_of(engine, root, platform, torch, python)
            for fault in faults:
                print(f"{platform.tag} {torch} {engine.name}: {fault}", file=sys.stderr)
            sound = sound and not faults
            engines[python.tag][torch] = engine
        print(f"{platform.tag} {torch}: {len(served)} engines in {(time.monotonic() - start) / 60:.1f} minutes")
    if not sound:
        return False
    for tag, built in engines.items():
        if not built:
            print(
                f"{platform.tag} {tag}: there is no wheel of torch {', '.join(torchs)} for this Python", file=sys.stderr
            )
            return False
        path = pack(built, tag, platform.tag, root / "wheel", output)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, engines for torch {', '.join(built)}")
    return True


if __name__ == "__main__":
    sys.exit(main())
