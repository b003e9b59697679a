"""What differs between releases of torch is told in one header; nothing else of csrc asks which release it is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.conftest import Compile

#: torch's numbers of its release. TORCH_VERSION, the text, is reported by torch's names and may be.
ASKS = re.compile(r"TORCH_VERSION_\w+|TORCH_ABI_VERSION|__has_include")
DOOR = "versions/Versions.h"


def test_only_one_header_asks_which_torch_this_is(root: Path) -> None:
    csrc = root / "csrc"
    sources = [path for path in csrc.rglob("*") if path.suffix in (".h", ".cpp", ".inc")]
    assert csrc / DOOR in sources
    asking = {path.relative_to(csrc).as_posix() for path in sources if ASKS.search(path.read_text(encoding="utf-8"))}
    assert asking <= {DOOR}


def test_each_difference_is_right_for_releases_with_and_without_it(compile_cpp: Compile, tmp_path: Path) -> None:
    program = compile_cpp(Path(__file__).with_name("versions.cpp"), tmp_path / "versions")
    assert subprocess.run([program], check=False).returncode == 0
