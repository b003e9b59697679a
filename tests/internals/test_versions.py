"""What differs between releases of torch is told in one header; nothing else of csrc asks which release it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

TORCH = Path(torch.__file__).parent
#: torch's numbers of its release. TORCH_VERSION, the text, is reported by torch's names and may be.
ASKS = re.compile(r"TORCH_VERSION_\w+|TORCH_ABI_VERSION|__has_include")
DOOR = "versions/Versions.h"


def test_only_one_header_asks_which_torch_this_is(root: Path) -> None:
    csrc = root / "csrc"
    sources = [path for path in csrc.rglob("*") if path.suffix in (".h", ".cpp", ".inc")]
    assert csrc / DOOR in sources
    asking = {path.relative_to(csrc).as_posix() for path in sources if ASKS.search(path.read_text(encoding="utf-8"))}
    assert asking <= {DOOR}


def test_each_difference_is_right_for_releases_with_and_without_it(root: Path, tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    program = tmp_path / "versions"
    subprocess.run(
        [
            "c++", "-std=c++20", "-Wall", "-Wextra", "-I", str(root / "csrc"), "-isystem", str(TORCH / "include"),
            str(root / "tests" / "internals" / "versions.cpp"), "-o", str(program), "-L", str(TORCH / "lib"), "-lc10",
            f"-Wl,-rpath,{TORCH / 'lib'}",
        ],
        check=True,
    )  # fmt: skip
    assert subprocess.run([program], check=False).returncode == 0
