"""Runs pytest with the instrumented extension of a build folder: `asan.py BUILD_DIR PYTEST_ARGUMENTS...`.

The Python interpreter itself is not instrumented, so the sanitizer's runtime has to be loaded before it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def runtime(name: str) -> str:
    """The path of one of the compiler's sanitizer libraries."""
    compiler = os.environ.get("CXX", "c++")
    return subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def main(build: Path, arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "torchdevice"
        shutil.copytree(ROOT / "torchdevice", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        shutil.copy2(ROOT / "torchdevice_ext.py", folder)
        (extension,) = build.glob("_C.*.so")
        shutil.copy2(extension, package)
        environment = {
            **os.environ,
            "PYTHONPATH": folder,
            # Else the working directory, with the ordinary build, would come first.
            "PYTHONSAFEPATH": "1",
            # libstdc++ comes along so that the sanitizer finds the real __cxa_throw.
            "LD_PRELOAD": " ".join([runtime("libasan.so"), runtime("libubsan.so"), runtime("libstdc++.so")]),
            # torch's own initialisation order is not ours to check.
            "ASAN_OPTIONS": "detect_leaks=0:check_initialization_order=0:abort_on_error=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        }
        where = f"import torch, torchdevice._C as c; assert c.__file__.startswith('{folder}'), c.__file__"
        subprocess.run([sys.executable, "-c", where], cwd=ROOT, env=environment, check=True)
        return subprocess.run([sys.executable, "-m", "pytest", "-q", *arguments], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
