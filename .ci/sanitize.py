"""Runs Python with the instrumented extension of a build folder: `sanitize.py address|thread BUILD_DIR ARGUMENTS...`.

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

# libstdc++ comes along so that the sanitizer finds the real __cxa_throw.
LIBRARIES = {
    "address": ["libasan.so", "libubsan.so", "libstdc++.so"],
    "thread": ["libtsan.so", "libstdc++.so"],
}
OPTIONS = {
    # torch's own initialisation order is not ours to check. To ask for too much memory is an error, as without it.
    "ASAN_OPTIONS": "detect_leaks=0:check_initialization_order=0:abort_on_error=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    # torch and Python are not instrumented: what they do is only looked at where it calls us.
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:halt_on_error=1:exitcode=66:second_deadlock_stack=1",
}


def library(name: str) -> str:
    """The path of one of the compiler's libraries."""
    compiler = os.environ.get("CXX", "c++")
    return subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def main(sanitizer: str, build: Path, arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "torchdevice"
        shutil.copytree(ROOT / "torchdevice", package, ignore=shutil.ignore_patterns("engines", "__pycache__"))
        for module in ("torchdevice_autoload.py", "torchdevice_ext.py", "TorchDevice.py"):
            shutil.copy2(ROOT / module, folder)
        shutil.copytree(build / "engines", package / "engines")
        environment = {
            **os.environ,
            **OPTIONS,
            # After it what is run of the checkout, by processes of their own too.
            "PYTHONPATH": os.pathsep.join((folder, str(ROOT))),
            # Else the working directory, with the ordinary build, would come first.
            "PYTHONSAFEPATH": "1",
            "LD_PRELOAD": " ".join(library(name) for name in LIBRARIES[sanitizer]),
        }
        where = f"import torch, torchdevice._C as c; assert c.__file__.startswith('{folder}'), c.__file__"
        subprocess.run([sys.executable, "-c", where], cwd=ROOT, env=environment, check=True)
        return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3:]))
