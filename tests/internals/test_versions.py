"""What differs between releases of torch is told in one header; nothing else of csrc asks which release it is."""

from __future__ import annotations

import re
from pathlib import Path

#: torch's numbers of its release. TORCH_VERSION, the text, is reported by torch's names and may be.
ASKS = re.compile(r"TORCH_VERSION_\w+|TORCH_ABI_VERSION|__has_include")
DOOR = "versions/Versions.h"


def test_only_one_header_asks_which_torch_this_is(root: Path) -> None:
    csrc = root / "csrc"
    sources = [path for path in csrc.rglob("*") if path.suffix in (".h", ".cpp", ".inc")]
    assert csrc / DOOR in sources
    asking = {path.relative_to(csrc).as_posix() for path in sources if ASKS.search(path.read_text(encoding="utf-8"))}
    assert asking <= {DOOR}
